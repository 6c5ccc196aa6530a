package holdfast

import (
	"sync"

	"holdfast.dev/holdfast/device"
)

// overlayBlock is the unit in bytes in which an overlay keeps what was written.
const overlayBlock = 4096

// overlay is a device that keeps writes in memory and never changes the one
// below. Through overlays the pool of a stopped server is opened as the next
// server would find it, and left untouched. It suits metadata, not bulk.
type overlay struct {
	under device.Device

	mu sync.Mutex
	// All below is guarded by mu.

	// written holds the blocks that differ from under, by number.
	written map[int64]*[overlayBlock]byte
	closed  bool
}

func newOverlay(under device.Device) *overlay {
	return &overlay{under: under, written: make(map[int64]*[overlayBlock]byte)}
}

func (o *overlay) ReadAt(p []byte, off int64) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return 0, device.ErrClosed
	}
	n, err := o.under.ReadAt(p, off)
	if err != nil {
		return n, err
	}
	o.pieces(off, int64(n), func(block, in, at, n int64) error {
		if b := o.written[block]; b != nil {
			copy(p[at:at+n], b[in:])
		}
		return nil
	})
	return n, nil
}

func (o *overlay) WriteAt(p []byte, off int64) (int, error) {
	err := o.change(off, int64(len(p)), func(to []byte, at int64) { copy(to, p[at:]) })
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (o *overlay) WriteZeroes(off, n int64) error {
	return o.change(off, n, func(to []byte, _ int64) { clear(to) })
}

func (o *overlay) Discard(off, n int64) error { return o.WriteZeroes(off, n) }

// change calls fill for each part of a block in [off, off+n); at is where in the
// range the part lies.
func (o *overlay) change(off, n int64, fill func(to []byte, at int64)) error {
	if err := device.CheckRange(o.under.Size(), off, n); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return device.ErrClosed
	}
	return o.pieces(off, n, func(block, in, at, n int64) error {
		b, err := o.block(block)
		if err == nil {
			fill(b[in:in+n], at)
		}
		return err
	})
}

// block returns the block to be changed, with what is below. Requires o.mu.
func (o *overlay) block(i int64) (*[overlayBlock]byte, error) {
	if b := o.written[i]; b != nil {
		return b, nil
	}
	b := new([overlayBlock]byte)
	n := min(overlayBlock, o.under.Size()-i*overlayBlock)
	if _, err := o.under.ReadAt(b[:n], i*overlayBlock); err != nil {
		return nil, err
	}
	o.written[i] = b
	return b, nil
}

// pieces splits [off, off+n) at blocks: number, offset in the block, offset in
// the range, length.
func (o *overlay) pieces(off, n int64, each func(block, in, at, n int64) error) error {
	for at := int64(0); at < n; {
		in := (off + at) % overlayBlock
		part := min(overlayBlock-in, n-at)
		if err := each((off+at)/overlayBlock, in, at, part); err != nil {
			return err
		}
		at += part
	}
	return nil
}

// Flush has nothing to do: an overlay is not meant to outlive a crash.
func (o *overlay) Flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return device.ErrClosed
	}
	return nil
}

func (o *overlay) Size() int64 { return o.under.Size() }

// Close leaves the device below open: it was only looked at.
func (o *overlay) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return device.ErrClosed
	}
	o.closed = true
	return nil
}
