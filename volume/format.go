package volume

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/google/uuid"
	"holdfast.dev/holdfast/internal/invariants"
)

// Where the table lies in the pool. Volumes begin behind it.
const (
	// TableSize is what the two copies take of the pool's start.
	TableSize = 1 << 20
	slotSize  = TableSize / 2
	slots     = 2
)

// Limits of a table. The slot bounds records and extents together.
const (
	// MaxVolumes keeps every record with one extent well inside a slot.
	MaxVolumes = 1024
	// MaxExtents of one volume leaves room for other volumes in a slot.
	MaxExtents = 4096
	// MaxName is the longest name in bytes; it is a file name and part of a URI.
	MaxName = 64
	// BlockSize in bytes divides every volume's size: a page is never cut.
	BlockSize = 4096
	// ExtentAlign in bytes is where extents begin, so that neither a huge page nor
	// a RAID stripe below is split more often than it must be.
	ExtentAlign = 1 << 20
)

// Layout of a slot; all integers little-endian. Reserved bytes are zero.
//
//	header, 128 bytes             record, 160 bytes, then its extents
//	  0 [8]  magic                  0 u32  kind
//	  8 u32  format version         4 u32  flags
//	 12 u32  CRC-32C               8 u64  size
//	 16 u64  compatible           16 [16] UUID
//	 24 u64  read-only compatible 32 u32  extents
//	 32 u64  incompatible         36 u32  name's length
//	 40 u64  generation           40 [64] name
//	 48 u32  length, header and   104 [56] reserved
//	         records together    extent, 24 bytes
//	 52 u32  records                0 u64  offset in the volume
//	 56 [72] reserved               8 u64  offset in the pool
//	                               16 u64  length
//
// The CRC covers length bytes with its own field zero.
const (
	magic         = "HFVOLTBL"
	formatVersion = 1

	headerSize = 128
	recordSize = 160
	extentSize = 24

	offVersion      = 8
	offCRC          = 12
	offCompat       = 16
	offROCompat     = 24
	offIncompat     = 32
	offGeneration   = 40
	offLength       = 48
	offRecords      = 52
	offHeaderSpare  = 56
	offKind         = 0
	offFlags        = 4
	offSize         = 8
	offUUID         = 16
	offExtents      = 32
	offNameLen      = 36
	offName         = 40
	offRecordSpare  = offName + MaxName
	recordSpareSize = recordSize - offRecordSpare
	headerSpareSize = headerSize - offHeaderSpare
)

// Feature bits in use: none. Unknown compatible ones are carried along with
// their reserved bytes; the others are refused, since every opening may write.
const (
	knownROCompat = 0
	knownIncompat = 0
)

// kind says how a record's extents are to be read.
type kind uint32

// kindLinear: extents are runs of the pool that belong to this volume alone.
const kindLinear kind = 1

// extent maps a run of a volume to the pool.
type extent struct {
	vol, pool, length int64 // bytes
}

// record is one volume of the table.
type record struct {
	name    string
	id      uuid.UUID
	size    int64 // bytes
	extents []extent
	spare   [recordSpareSize]byte
}

// table is the decoded content of a slot.
type table struct {
	generation uint64
	compat     uint64
	spare      [headerSpareSize]byte
	records    []record
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodedSize is the length of t in a slot, in bytes.
func (t *table) encodedSize() int {
	n := headerSize
	for i := range t.records {
		n += recordSize + extentSize*len(t.records[i].extents)
	}
	return n
}

// encode returns t as a slot holds it, padded to whole blocks. It fails with
// ErrNoSpace if t does not fit.
func (t *table) encode() ([]byte, error) {
	n := t.encodedSize()
	if n > slotSize || len(t.records) > MaxVolumes {
		return nil, fmt.Errorf("%w: the volume table is full: it would need %d records in %d of %d bytes",
			ErrNoSpace, len(t.records), n, slotSize)
	}
	b := make([]byte, (n+BlockSize-1)/BlockSize*BlockSize)
	le := binary.LittleEndian
	copy(b, magic)
	le.PutUint32(b[offVersion:], formatVersion)
	le.PutUint64(b[offCompat:], t.compat)
	le.PutUint64(b[offGeneration:], t.generation)
	le.PutUint32(b[offLength:], uint32(n))
	le.PutUint32(b[offRecords:], uint32(len(t.records)))
	copy(b[offHeaderSpare:headerSize], t.spare[:])
	at := headerSize
	for i := range t.records {
		at += t.records[i].encode(b[at:])
	}
	invariants.Check(at == n, "volume: a table of %d bytes was encoded as %d", n, at)
	le.PutUint32(b[offCRC:], checksum(b[:n]))
	return b, nil
}

// encode writes r to b and returns its length.
func (r *record) encode(b []byte) int {
	le := binary.LittleEndian
	le.PutUint32(b[offKind:], uint32(kindLinear))
	le.PutUint64(b[offSize:], uint64(r.size))
	copy(b[offUUID:], r.id[:])
	le.PutUint32(b[offExtents:], uint32(len(r.extents)))
	le.PutUint32(b[offNameLen:], uint32(len(r.name)))
	copy(b[offName:], r.name)
	copy(b[offRecordSpare:], r.spare[:])
	at := recordSize
	for _, e := range r.extents {
		le.PutUint64(b[at:], uint64(e.vol))
		le.PutUint64(b[at+8:], uint64(e.pool))
		le.PutUint64(b[at+16:], uint64(e.length))
		at += extentSize
	}
	return at
}

// checksum is the CRC-32C of b with the CRC field taken as zero.
func checksum(b []byte) uint32 {
	var zero [4]byte
	c := crc32.Update(0, castagnoli, b[:offCRC])
	c = crc32.Update(c, castagnoli, zero[:])
	return crc32.Update(c, castagnoli, b[offCRC+4:])
}
