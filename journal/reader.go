package journal

import (
	"fmt"

	"holdfast.dev/holdfast/device"
)

// reader reads one leg's ring through a window, since transactions are mostly
// short and read one after the other.
type reader struct {
	l   *layout
	dev device.Device
	buf []byte
	// The window is n blocks from pos on; none if n is zero.
	pos, n uint64
}

func newReader(l *layout, dev device.Device) *reader {
	return &reader{l: l, dev: dev, buf: device.Aligned(int(min(2*l.txnBlocks, l.ring)) * BlockSize)}
}

// transaction reads what is at a position. It checks that it is sound, and not
// that it belongs there. Its errors wrap ErrDamaged unless the device failed.
func (r *reader) transaction(pos, epoch uint64) (*descriptor, []byte, error) {
	b, err := r.at(pos, 1)
	if err != nil {
		return nil, nil, err
	}
	d, err := r.l.decodeHead(b, epoch)
	if err != nil {
		return nil, nil, err
	}
	if b, err = r.at(pos, d.blocks); err != nil {
		return nil, nil, err
	}
	// The bytes may be others than a moment ago: the device may lie.
	if d, err = r.l.decodeHead(b, epoch); err != nil {
		return nil, nil, err
	}
	if int(d.blocks)*BlockSize != len(b) {
		return nil, nil, fmt.Errorf("%w: transaction %d reads as two", ErrDamaged, d.seq)
	}
	return &d, b, r.l.check(&d, b)
}

// at returns n blocks of the ring.
func (r *reader) at(pos, n uint64) ([]byte, error) {
	if pos < r.pos || pos+n > r.pos+r.n {
		if err := r.load(pos, uint64(len(r.buf))/BlockSize); err != nil {
			// What lies further on may be what cannot be read.
			if err := r.load(pos, n); err != nil {
				return nil, err
			}
		}
	}
	return r.buf[(pos-r.pos)*BlockSize:][:n*BlockSize], nil
}

func (r *reader) load(pos, n uint64) error {
	r.n = 0
	first := min(n, r.l.ring-pos%r.l.ring)
	if _, err := r.dev.ReadAt(r.buf[:first*BlockSize], r.l.blockOff(pos)); err != nil {
		return err
	}
	if n > first {
		if _, err := r.dev.ReadAt(r.buf[first*BlockSize:n*BlockSize], r.l.blockOff(0)); err != nil {
			return err
		}
	}
	r.pos, r.n = pos, n
	return nil
}
