package journal

import (
	"fmt"
	"hash/crc32"
	"math/bits"

	"github.com/google/uuid"

	"holdfast.dev/holdfast/device"
)

// Where things lie in a journal's area, in blocks of 4 KiB:
//
//	0, 1   the header's two slots
//	2...   the ring
const (
	// BlockSize is the unit of the pool and of the ring, in bytes. It is what
	// the coarsest of common devices writes without reading first.
	BlockSize = 4096

	sectorSize      = device.SectorSize
	sectorsPerBlock = BlockSize / sectorSize
	headerBlocks    = 2

	// MaxEntries bounds a transaction: 256 whole blocks are a MiB, beyond which
	// a longer write gains a device nothing, and are copied and summed in a
	// quarter of a millisecond. It also bounds what recovery holds in memory.
	MaxEntries = 256
	// ringShare is the part of the ring that one transaction may take, so that
	// there is room for another while a checkpoint makes more.
	ringShare = 4
	// minRing leaves a transaction room for one whole block.
	minRing = 2 * ringShare
	// maxRing is 256 MiB: read in a fraction of a second after a crash, and with
	// an index in memory of at most 16 MiB.
	maxRing = 256 << 20 / BlockSize
	// entriesPerBlock bounds, with the ring's size, the entries between tail and
	// head, and so the index: a block of zeros takes next to nothing in the ring,
	// but as much in the index as any other.
	entriesPerBlock = 2

	// Positions are counted in blocks of the ring and never start again while
	// the journal is open. Beyond this, an exabyte, a header or a transaction is
	// not believed: so no sum of positions can overflow.
	maxPos = 1 << 48
	// maxSeq does the same for numbers of transactions.
	maxSeq = 1 << 62
)

// Config says where a journal lies and what it is for. It is the same on every
// leg.
type Config struct {
	// Pool is whose journal it is; another pool's is not read.
	Pool uuid.UUID
	// Off and Len are the area on each leg, in bytes, multiples of BlockSize.
	Off, Len int64
	// Blocks is the size of the pool: no entry is for a block beyond it.
	Blocks uint64
}

// layout is a Config that was checked, and what follows from it.
type layout struct {
	Config
	ring       uint64 // blocks
	txnBlocks  uint64 // that a transaction may take
	txnEntries int    // that a transaction may have
	entries    int    // that may be between tail and head
}

func newLayout(c Config) (layout, error) {
	n := c.Len/BlockSize - headerBlocks
	switch {
	case c.Off < 0 || c.Len < 0 || c.Off%BlockSize != 0 || c.Len%BlockSize != 0:
		return layout{}, fmt.Errorf("%w: %d bytes at %d are not whole blocks of %d", ErrInvalid, c.Len, c.Off, BlockSize)
	case n < minRing || n > maxRing:
		return layout{}, fmt.Errorf("%w: a ring of %d blocks, and it takes %d to %d", ErrInvalid, n, minRing, maxRing)
	case c.Off > 1<<62:
		return layout{}, fmt.Errorf("%w: it lies at %d", ErrInvalid, c.Off)
	}
	l := layout{Config: c, ring: uint64(n), entries: int(n) * entriesPerBlock}
	l.txnEntries = min(MaxEntries, l.entries/ringShare)
	l.txnBlocks = min(blocksFor(MaxEntries, MaxEntries*sectorsPerBlock), l.ring/ringShare)
	return l, nil
}

// blockOff is where, on a leg, the block of the ring at a position lies.
func (l *layout) blockOff(pos uint64) int64 {
	return l.Off + int64(headerBlocks+pos%l.ring)*BlockSize
}

// split returns where the bytes of a transaction at a position go: those from
// the ring's end on go to its beginning.
func (l *layout) split(pos uint64, b []byte) [2]Write {
	first := min(uint64(len(b)), (l.ring-pos%l.ring)*BlockSize)
	return [2]Write{{b[:first], l.blockOff(pos)}, {b[first:], l.blockOff(0)}}
}

// slotOff is where the header with a sequence number lies.
func (l *layout) slotOff(seq uint64) int64 { return l.Off + int64(seq&1)*BlockSize }

// Sectors is a set of sectors of a block, one bit each, the first sector lowest.
type Sectors uint8

// AllSectors is a whole block.
const AllSectors Sectors = 1<<sectorsPerBlock - 1

// Len is how many there are.
func (s Sectors) Len() int { return bits.OnesCount8(uint8(s)) }

// Tuple is a block's guard, of which the journal knows nothing but its size.
type Tuple [8]byte

// Write is bytes and where they go on every leg.
type Write struct {
	P   []byte
	Off int64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)
