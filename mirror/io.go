package mirror

import (
	"fmt"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/mutant"
	"holdfast.dev/holdfast/internal/rangelock"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// Size is the size of the data in bytes.
func (m *Mirror) Size() int64 { return m.geo.DataSize }

// WriteAt writes p at off to every leg in sync.
func (m *Mirror) WriteAt(p []byte, off int64) (int, error) {
	if err := m.write("write", opWrite, p, off, int64(len(p)), nil); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Discard gives back the space of the range, which then reads as zeros.
func (m *Mirror) Discard(off, n int64) error { return m.write("discard", opDiscard, nil, off, n, nil) }

// WriteZeroes makes the range read as zeros and keeps its space.
func (m *Mirror) WriteZeroes(off, n int64) error { return m.write("zero", opZero, nil, off, n, nil) }

// write does any operation that changes data: on every leg in the order in
// which overlapping ones were granted their range. sums are those of whole
// blocks, if they are known. Where room has to be made in the ring it is not
// held meanwhile, and what was done before that is not done again.
func (m *Mirror) write(name string, op legOp, p []byte, off, n int64, sums []uint32) error {
	for {
		h, err := m.enter(name, off, n, rangelock.Exclusive)
		if h == nil {
			return err
		}
		done, err := m.put(op, p, off, n, sums)
		m.ranges.Release(h)
		if mutant.On(mutant.RegionClearedAtEnd) {
			_ = m.settleRegions(m.regions.mark())
		}
		if noRoom(err) {
			err = m.makeRoom()
			off, n, p = off+done, n-done, tail(p, done)
			if sums != nil {
				sums = sums[done/BlockSize:]
			}
			if err == nil {
				continue
			}
		}
		return m.opError(name, off, n, err)
	}
}

// putHome writes to the data area. Requires the range exclusively, and that the
// ring holds nothing of its blocks.
func (m *Mirror) putHome(op legOp, p []byte, off, n int64, sums []uint32) error {
	if m.guards.on() && sums != nil {
		return m.writeRuns(op, p, off, n, sums)
	}
	if m.guards.on() {
		return m.writeGuarded(op, p, off, n)
	}
	first, last := m.regions.span(off, n)
	if err := m.beginWrite(first, last); err != nil {
		return err
	}
	defer m.regions.end(first, last)
	return m.writeLegs(op, p, off, n)
}

// enter checks a call and locks its range, in whole blocks where these have
// guards. It returns neither a range nor an error if there is nothing to do.
func (m *Mirror) enter(name string, off, n int64, mode rangelock.Mode) (*rangelock.Held, error) {
	if m.closed.Load() {
		return nil, m.closedErr(name)
	}
	if err := device.CheckRange(m.geo.DataSize, off, n); err != nil || n == 0 {
		return nil, m.opError(name, off, n, err)
	}
	start, end := off/BlockSize*BlockSize, ondisk.RoundUp(off+n, BlockSize)
	h := m.ranges.Acquire(start, end-start, mode)
	if m.closed.Load() {
		m.ranges.Release(h)
		return nil, m.closedErr(name)
	}
	return h, nil
}

// beginWrite returns when the bits of the regions are durable on every leg in
// sync. If it succeeds regions.end has to follow.
func (m *Mirror) beginWrite(first, last int) error {
	if m.regions.begin(first, last) || mutant.On(mutant.BitAfterWrite) {
		return nil
	}
	err := m.ensure(first, last)
	if err != nil {
		m.regions.end(first, last)
	}
	return err
}

// writeLegs does op on every leg in sync or joining. The range must be held exclusively, and
// its regions begun.
func (m *Mirror) writeLegs(op legOp, p []byte, off, n int64) error {
	ok, err := m.onLegs(m.roll().targets(), op, p, off, n)
	if mutant.On(mutant.BitAfterWrite) {
		_ = m.ensure(m.regions.span(off, n))
	}
	if err := m.settle(ok, err); err != nil {
		first, last := m.regions.span(off, n)
		m.regions.spoil(first, last, m.inSync().first())
		m.resync.bell.Ring()
		return err
	}
	return nil
}

// Extents lists what is data and what is hole, as one leg in sync has it. A
// region that awaits resync is data, and so is what the ring holds.
func (m *Mirror) Extents(off, n int64, yield func(device.Extent) bool) error {
	if m.closed.Load() {
		return m.closedErr("extents")
	}
	if err := device.CheckRange(m.geo.DataSize, off, n); err != nil {
		return m.opError("extents", off, n, err)
	}
	more := true
	end := off + n
	held := m.ring.held(off, n, nil)
	for off < end && more {
		n, inRing := segment(&held, off, end-off)
		waits := inRing
		if !inRing {
			n, waits = m.regions.route(off, n)
		}
		if waits {
			more = yield(device.Extent{Off: off, Len: n})
		} else if err := m.legExtents(off, n, &more, yield); err != nil {
			return m.opError("extents", off, n, err)
		}
		off += n
	}
	return nil
}

// legExtents asks one leg, and another for what it did not tell.
func (m *Mirror) legExtents(off, n int64, more *bool, yield func(device.Extent) bool) error {
	base, end := m.geo.DataOff(), off+n
	var first error
	for left := m.inSync(); left != 0; {
		i := m.pick(left, off)
		l := m.leg(i)
		err := device.Extents(l.dev, base+off, end-off, func(e device.Extent) bool {
			e.Off -= base
			off = e.Off + e.Len
			*more = yield(e)
			return *more
		})
		if err == nil {
			return nil
		}
		m.charge(l, &l.readErrors, "extents", base+off, end-off, err)
		if first == nil {
			first = fmt.Errorf("leg %s: %w", l.name, err)
		}
		left &^= 1 << i
	}
	return first
}

// opError adds to an error what the mirror was doing.
func (m *Mirror) opError(op string, off, n int64, err error) error {
	if err == nil {
		return nil
	}
	return &device.OpError{Op: op, Name: "mirror", Off: off, Len: n, Err: err}
}

func (m *Mirror) closedErr(op string) error { return m.opError(op, 0, 0, device.ErrClosed) }
