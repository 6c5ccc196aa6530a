package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// A transaction is whole blocks of the ring: a descriptor, of whole sectors,
// then the sectors that its entries carry, one after the other, then whatever
// fills the last block. Little endian:
//
//	0   8   magic
//	8   8   epoch
//	16  8   number; they rise by one
//	24  8   position in the ring
//	32  8   position of the tail, as durable on every leg when it was made
//	40  8   number of the newest transaction durable when it was made
//	48  4   length in blocks
//	52  4   number of entries
//	56  4   where the payload begins, in sectors
//	60  4   CRC-32C over all the rest of the transaction
//	64      entries of 24 bytes:
//	        0  8  block of the pool
//	        8  8  tuple
//	        16 1  kind: data or zeros
//	        17 1  sectors
//	        18 6  zero
const (
	txnMagic  = "HFTRANSA"
	offTxnCRC = 60
	txnHeader = 64
	entrySize = 24
)

type kind uint8

const (
	// kindData carries its sectors in the payload.
	kindData kind = 1 + iota
	// kindZeros has no payload: its sectors are zeros.
	kindZeros
)

// Entry is what a transaction says of a block.
type Entry struct {
	Block uint64
	// Sectors are those that it gives new content, one at least.
	Sectors Sectors
	// Tuple is the guard of the whole block, with these sectors as they are then.
	Tuple Tuple
}

// descSectors is how long a descriptor with room for n entries is.
func descSectors(n int) int { return (txnHeader + n*entrySize + sectorSize - 1) / sectorSize }

// blocksFor is how long a transaction is.
func blocksFor(entries, payloadSectors int) uint64 {
	return uint64(descSectors(entries)+payloadSectors+sectorsPerBlock-1) / sectorsPerBlock
}

// descriptor is the head of a transaction.
type descriptor struct {
	place
	epoch   uint64
	tail    uint64
	durable uint64
	blocks  uint64
	entries int
	payload int // sectors
}

// encode fills the head of b, a whole transaction with its entries and payload
// in place, and seals it.
func (d *descriptor) encode(b []byte) {
	le := binary.LittleEndian
	copy(b, txnMagic)
	le.PutUint64(b[8:], d.epoch)
	le.PutUint64(b[16:], d.seq)
	le.PutUint64(b[24:], d.pos)
	le.PutUint64(b[32:], d.tail)
	le.PutUint64(b[40:], d.durable)
	le.PutUint32(b[48:], uint32(d.blocks))
	le.PutUint32(b[52:], uint32(d.entries))
	le.PutUint32(b[56:], uint32(d.payload))
	le.PutUint32(b[offTxnCRC:], txnCRC(b))
}

func txnCRC(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:offTxnCRC], castagnoli), castagnoli, b[txnHeader:])
}

// decodeHead reads the head of a transaction from the first block at a position
// and checks what must hold before the rest may be read. Its errors wrap
// ErrDamaged.
func (l *layout) decodeHead(b []byte, epoch uint64) (d descriptor, err error) {
	if len(b) < txnHeader || !bytes.HasPrefix(b, []byte(txnMagic)) {
		return d, fmt.Errorf("%w: no transaction there", ErrDamaged)
	}
	le := binary.LittleEndian
	d = descriptor{
		place:   place{pos: le.Uint64(b[24:]), seq: le.Uint64(b[16:])},
		epoch:   le.Uint64(b[8:]),
		tail:    le.Uint64(b[32:]),
		durable: le.Uint64(b[40:]),
		blocks:  uint64(le.Uint32(b[48:])),
	}
	entries, payload := le.Uint32(b[52:]), le.Uint32(b[56:])
	switch {
	case d.epoch != epoch:
		return d, fmt.Errorf("%w: a transaction of another epoch", ErrDamaged)
	case d.seq == 0 || d.seq > maxSeq || d.pos > maxPos || d.tail > d.pos || d.durable >= d.seq:
		return d, fmt.Errorf("%w: transaction %d at %d, tail %d, durable to %d", ErrDamaged, d.seq, d.pos, d.tail, d.durable)
	case d.blocks == 0 || d.blocks > l.txnBlocks || entries == 0 || entries > uint32(l.txnEntries):
		return d, fmt.Errorf("%w: transaction %d has %d blocks and %d entries", ErrDamaged, d.seq, d.blocks, entries)
	case payload < uint32(descSectors(int(entries))) || uint64(payload) > d.blocks*sectorsPerBlock:
		return d, fmt.Errorf("%w: transaction %d has its payload at %d", ErrDamaged, d.seq, payload)
	}
	d.entries, d.payload = int(entries), int(payload)
	return d, nil
}

// check looks at a whole transaction whose head was read: its checksum, and
// that every entry is for the pool and finds its payload. Its errors wrap
// ErrDamaged.
func (l *layout) check(d *descriptor, b []byte) error {
	if binary.LittleEndian.Uint32(b[offTxnCRC:]) != txnCRC(b) {
		return fmt.Errorf("%w: wrong checksum of transaction %d", ErrDamaged, d.seq)
	}
	at := d.payload
	for i := range d.entries {
		e, k := decodeEntry(b, i)
		if e.Block >= l.Blocks || e.Sectors == 0 || k != kindData && k != kindZeros {
			return fmt.Errorf("%w: transaction %d has an entry of kind %d for sectors %#x of block %d, of %d in the pool",
				ErrDamaged, d.seq, k, e.Sectors, e.Block, l.Blocks)
		}
		if k == kindData {
			at += e.Sectors.Len()
		}
	}
	if uint64(at+sectorsPerBlock-1)/sectorsPerBlock != d.blocks {
		return fmt.Errorf("%w: transaction %d has %d blocks for %d sectors", ErrDamaged, d.seq, d.blocks, at)
	}
	return nil
}

func encodeEntry(b []byte, i int, e Entry, k kind) {
	at := b[txnHeader+i*entrySize:][:entrySize]
	binary.LittleEndian.PutUint64(at, e.Block)
	copy(at[8:], e.Tuple[:])
	at[16], at[17] = byte(k), byte(e.Sectors)
	clear(at[18:])
}

func decodeEntry(b []byte, i int) (e Entry, k kind) {
	at := b[txnHeader+i*entrySize:][:entrySize]
	e.Block = binary.LittleEndian.Uint64(at)
	copy(e.Tuple[:], at[8:])
	e.Sectors = Sectors(at[17])
	return e, kind(at[16])
}

// each calls do for every entry of a sound transaction, in order. at is the
// position of the entry's content in the ring, in sectors; for zeros it is that
// of the sector before where content would begin. So of two entries for one
// sector the later never has the lesser position, and none lies outside its
// transaction. data is the entry's payload.
func (d *descriptor) each(b []byte, do func(e Entry, k kind, at uint64, data []byte)) {
	next := d.payload
	for i := range d.entries {
		e, k := decodeEntry(b, i)
		if k == kindZeros {
			do(e, k, d.pos*sectorsPerBlock+uint64(next-1), nil)
			continue
		}
		n := e.Sectors.Len()
		do(e, k, d.pos*sectorsPerBlock+uint64(next), b[next*sectorSize:(next+n)*sectorSize])
		next += n
	}
}
