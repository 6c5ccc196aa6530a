package journal

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/google/uuid"

	"holdfast.dev/holdfast/device"
)

// A header, little endian, one block. There are two slots, written in turn:
// sequence numbers rise by one, and their lowest bit is the slot.
//
//	0    8   magic
//	8   16   pool
//	24   8   sequence number, never zero
//	32   8   epoch
//	40   8   tail: position of the oldest transaction that is needed
//	48   8   tail: its number, or that of the next one if the ring is empty
//	56   8   number of the newest transaction known to be durable
//	4092 4   CRC-32C over everything before
const (
	headerMagic  = "HFJOURNL"
	offHeaderCRC = BlockSize - 4
)

// header is what recovery starts from.
type header struct {
	seq     uint64
	epoch   uint64
	tail    place
	durable uint64
}

// place is where a transaction begins in the ring, and its number.
type place struct{ pos, seq uint64 }

// newEpoch returns a number that no transaction in the ring has, and that a
// client who would like his data taken for a transaction cannot guess.
func newEpoch() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// encode fills b, one block.
func (h *header) encode(b []byte, pool uuid.UUID) {
	le := binary.LittleEndian
	clear(b)
	copy(b, headerMagic)
	copy(b[8:], pool[:])
	le.PutUint64(b[24:], h.seq)
	le.PutUint64(b[32:], h.epoch)
	le.PutUint64(b[40:], h.tail.pos)
	le.PutUint64(b[48:], h.tail.seq)
	le.PutUint64(b[56:], h.durable)
	le.PutUint32(b[offHeaderCRC:], crc32.Checksum(b[:offHeaderCRC], castagnoli))
}

// decodeHeader reads the block found in a slot. Its errors wrap ErrDamaged.
func decodeHeader(b []byte, pool uuid.UUID, slot int) (h header, err error) {
	le := binary.LittleEndian
	switch {
	case len(b) != BlockSize || !bytes.HasPrefix(b, []byte(headerMagic)):
		return h, fmt.Errorf("%w: no header in slot %d", ErrDamaged, slot)
	case le.Uint32(b[offHeaderCRC:]) != crc32.Checksum(b[:offHeaderCRC], castagnoli):
		return h, fmt.Errorf("%w: wrong checksum of the header in slot %d", ErrDamaged, slot)
	case !bytes.Equal(b[8:24], pool[:]):
		return h, fmt.Errorf("%w: another pool's header in slot %d", ErrDamaged, slot)
	}
	h = header{
		seq:     le.Uint64(b[24:]),
		epoch:   le.Uint64(b[32:]),
		tail:    place{le.Uint64(b[40:]), le.Uint64(b[48:])},
		durable: le.Uint64(b[56:]),
	}
	if h.seq == 0 || h.seq > maxSeq || h.seq&1 != uint64(slot) || h.tail.pos > maxPos ||
		h.tail.seq == 0 || h.tail.seq > maxSeq || h.durable > maxSeq {
		return h, fmt.Errorf("%w: header %d in slot %d has its tail at %d, transaction %d, durable to %d",
			ErrDamaged, h.seq, slot, h.tail.pos, h.tail.seq, h.durable)
	}
	return h, nil
}

// write returns where the header goes.
func (h *header) write(l *layout) Write {
	w := Write{P: device.Aligned(BlockSize), Off: l.slotOff(h.seq)}
	h.encode(w.P, l.Pool)
	return w
}

// Format returns what makes an area an empty journal. Nothing may rely on it
// before it is flushed.
func Format(c Config) (Write, error) {
	l, err := newLayout(c)
	if err != nil {
		return Write{}, err
	}
	w := Write{P: device.Aligned(headerBlocks * BlockSize), Off: l.Off}
	h := header{seq: 1, epoch: newEpoch(), tail: place{seq: 1}}
	h.encode(w.P[BlockSize:], l.Pool)
	return w, nil
}
