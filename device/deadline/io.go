package deadline

import "holdfast.dev/holdfast/device"

// pageSize is the alignment in bytes at which long transfers are cut, as far as
// they have any: no sector is torn by it, and direct I/O stays direct.
const pageSize = device.DirectAlign

// ReadAt reads len(p) bytes at off.
func (d *Device) ReadAt(p []byte, off int64) (int, error) { return d.transfer(opRead, p, off) }

// WriteAt writes p at off.
func (d *Device) WriteAt(p []byte, off int64) (int, error) { return d.transfer(opWrite, p, off) }

// transfer reads or writes, a piece at a time.
func (d *Device) transfer(op opcode, p []byte, off int64) (int, error) {
	if err := d.check(op, off, int64(len(p))); err != nil {
		return 0, err
	}
	for done := 0; ; {
		at := off + int64(done)
		n := d.piece(len(p)-done, int(at%pageSize))
		k, _, err := d.do(op, p[done:done+n], at, int64(n))
		done += k
		if err != nil || done == len(p) || k < n {
			return done, err
		}
	}
}

// piece says how much of n bytes that begin so far into a page is transferred in
// one call, and counts that call if it is large.
func (d *Device) piece(n, in int) int {
	if n > pieceSize {
		if d.large.Add(1) <= maxLarge {
			return min(n, largeSize-in) // still more than pieceSize
		}
		d.large.Add(-1)
	}
	return min(n, pieceSize-in)
}

// Flush makes everything durable that returned before it was called.
func (d *Device) Flush() error {
	_, _, err := d.do(opFlush, nil, 0, 0)
	return err
}

// Discard gives back the space of the range.
func (d *Device) Discard(off, n int64) error { return d.clear(opDiscard, off, n) }

// WriteZeroes makes the range read as zeros.
func (d *Device) WriteZeroes(off, n int64) error { return d.clear(opZero, off, n) }

// clear discards or zeroes, a piece at a time.
func (d *Device) clear(op opcode, off, n int64) error {
	if err := d.check(op, off, n); err != nil {
		return err
	}
	for end := off + n; ; {
		k := min(end-off, zeroSize-off%zeroSize)
		if _, _, err := d.do(op, nil, off, k); err != nil {
			return err
		}
		if off += k; off == end {
			return nil
		}
	}
}

// Extents lists the extents of the device beneath, a few at a time: yield is
// called by the caller, never by a call that may come back late.
func (d *Device) Extents(off, n int64, yield func(device.Extent) bool) error {
	if err := d.check(opExtents, off, n); err != nil {
		return err
	}
	for end := off + n; ; {
		_, extents, err := d.do(opExtents, nil, off, end-off)
		if err != nil {
			return err
		}
		for _, e := range extents {
			if !yield(e) {
				return nil
			}
			off = e.Off + e.Len
		}
		if off == end || len(extents) == 0 {
			return nil
		}
	}
}

// check refuses what reaches outside before memory is taken for it.
func (d *Device) check(op opcode, off, n int64) error {
	if err := device.CheckRange(d.size, off, n); err != nil {
		return d.fail(op, off, n, err)
	}
	return nil
}

func (d *Device) fail(op opcode, off, n int64, err error) error {
	return &device.OpError{Op: opNames[op], Name: d.name, Off: off, Len: n, Err: err}
}

var _ device.Extenter = (*Device)(nil)
