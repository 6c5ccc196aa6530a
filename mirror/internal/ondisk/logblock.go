package ondisk

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"
)

// A block of the region log, little endian. Each has two slots on a leg, side
// by side; sequence numbers rise by one with each write of the block, and their
// lowest bit is the slot.
//
//	0    8    magic
//	8   16    pool
//	24   4    index of the block
//	28   4    slot
//	32   8    sequence number, never zero
//	48 4000   one bit a region, in words of 64
//	4092 4    CRC-32C over everything before
const (
	logMagic   = "HFREGION"
	offLogBits = 48
	// LogWords is how many words of bits a block has.
	LogWords        = 500
	regionsPerBlock = LogWords * 64
	logBlocksMax    = (maxRegions + regionsPerBlock - 1) / regionsPerBlock
	logAreaSize     = logBlocksMax * 2 * BlockSize
)

// LogBits is the payload of a log block.
type LogBits [LogWords]uint64

// LogBlocks is how many blocks the log of that many regions has.
func LogBlocks(regions int) int { return (regions + regionsPerBlock - 1) / regionsPerBlock }

// LogSlotOffset is where, within the log area, the given sequence number of a
// block belongs.
func LogSlotOffset(block int, seq uint64) int64 {
	return (int64(block)*2 + int64(seq&1)) * BlockSize
}

// EncodeLogBlock fills b, one block.
func EncodeLogBlock(b []byte, pool uuid.UUID, block int, seq uint64, bits *LogBits) {
	le := binary.LittleEndian
	clear(b)
	copy(b, logMagic)
	copy(b[8:], pool[:])
	le.PutUint32(b[24:], uint32(block))
	le.PutUint32(b[28:], uint32(seq&1))
	le.PutUint64(b[32:], seq)
	for i, w := range bits {
		le.PutUint64(b[offLogBits+8*i:], w)
	}
	seal(b)
}

// DecodeLogBlock reads the block found in a slot of a block of a pool's log.
// Its errors wrap ErrCorrupt.
func DecodeLogBlock(b []byte, pool uuid.UUID, block, slot int, bits *LogBits) (seq uint64, err error) {
	le := binary.LittleEndian
	switch {
	case len(b) != BlockSize || !bytes.HasPrefix(b, []byte(logMagic)):
		return 0, fmt.Errorf("%w: no log block there", ErrCorrupt)
	case !sealed(b):
		return 0, fmt.Errorf("%w: wrong checksum", ErrCorrupt)
	case !bytes.Equal(b[8:24], pool[:]):
		return 0, fmt.Errorf("%w: another pool's log block", ErrCorrupt)
	}
	seq = le.Uint64(b[32:])
	if le.Uint32(b[24:]) != uint32(block) || le.Uint32(b[28:]) != uint32(slot) || seq&1 != uint64(slot) || seq == 0 {
		return 0, fmt.Errorf("%w: log block %d, slot %d, sequence %d, found in slot %d of block %d", ErrCorrupt,
			le.Uint32(b[24:]), le.Uint32(b[28:]), seq, slot, block)
	}
	for i := range bits {
		bits[i] = le.Uint64(b[offLogBits+8*i:])
	}
	return seq, nil
}
