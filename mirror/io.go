package mirror

import (
	"fmt"
	"io"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/rangelock"
	"holdfast.dev/holdfast/internal/seam"
)

// readStripe is how much of the data area prefers the same leg, in bytes, so
// that a sequential reader stays on one while two readers may have two.
const readStripe = 1 << 20

// Size is the size of the data in bytes.
func (m *Mirror) Size() int64 { return m.geo.dataSize }

// WriteAt writes p at off to every leg in sync.
func (m *Mirror) WriteAt(p []byte, off int64) (int, error) {
	if err := m.write("write", opWrite, p, off, int64(len(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Discard gives back the space of the range, which then reads as zeros.
func (m *Mirror) Discard(off, n int64) error { return m.write("discard", opDiscard, nil, off, n) }

// WriteZeroes makes the range read as zeros and keeps its space.
func (m *Mirror) WriteZeroes(off, n int64) error { return m.write("zero", opZero, nil, off, n) }

// write does any operation that changes data: on every leg in the order in
// which overlapping ones were granted their range.
func (m *Mirror) write(name string, op legOp, p []byte, off, n int64) error {
	h, err := m.enter(name, off, n, rangelock.Exclusive)
	if h == nil {
		return err
	}
	defer m.ranges.Release(h)
	return m.opError(name, off, n, m.writeRange(op, p, off, n))
}

// enter checks a call and locks its range. It returns neither a range nor an
// error if there is nothing to do.
func (m *Mirror) enter(name string, off, n int64, mode rangelock.Mode) (*rangelock.Held, error) {
	if m.closed.Load() {
		return nil, m.closedErr(name)
	}
	if err := device.CheckRange(m.geo.dataSize, off, n); err != nil || n == 0 {
		return nil, m.opError(name, off, n, err)
	}
	h := m.ranges.Acquire(off, n, mode)
	if m.closed.Load() {
		m.ranges.Release(h)
		return nil, m.closedErr(name)
	}
	return h, nil
}

// writeRange does op on every leg in sync, after the bits of its regions are
// durable on all of them. The range must be held exclusively.
func (m *Mirror) writeRange(op legOp, p []byte, off, n int64) error {
	rs := m.regions
	first, last := rs.span(off, n)
	durable := rs.begin(first, last)
	defer rs.end(first, last)
	if !durable {
		if err := m.ensure(first, last); err != nil {
			return err
		}
	}
	ok, err := m.onLegs(m.inSync(), op, p, off, n)
	if err := m.settle(ok, err); err != nil {
		rs.spoil(first, last, m.inSync().first())
		m.resync.bell.Ring()
		return err
	}
	return nil
}

// ReadAt reads len(p) bytes at off from one leg, or from another if that
// fails.
func (m *Mirror) ReadAt(p []byte, off int64) (int, error) {
	h, err := m.enter("read", off, int64(len(p)), rangelock.Shared)
	if h == nil {
		return 0, err
	}
	defer m.ranges.Release(h)
	for done := 0; done < len(p); {
		at := off + int64(done)
		n, waits := m.regions.route(at, int64(len(p)-done))
		part := p[done : done+int(n)]
		if waits {
			_, err = m.readAwaiting(part, at)
		} else {
			err = m.readAny(part, at)
		}
		if err != nil {
			return done, m.opError("read", off, int64(len(p)), err)
		}
		done += int(n)
	}
	return len(p), nil
}

// readAny reads a range in which the legs are equal.
func (m *Mirror) readAny(p []byte, off int64) error {
	var first error
	for left := m.inSync(); left != 0; {
		i := m.pick(left, off)
		err := m.readLeg(i, p, off)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
		left &^= 1 << i
	}
	return first
}

// pick returns the leg with the fewest reads in flight; the offset decides
// between equals.
func (m *Mirror) pick(from legMask, off int64) int {
	best, fewest := -1, int32(0)
	start := int(off / readStripe % int64(len(m.legs)))
	for k := range m.legs {
		i := (start + k) % len(m.legs)
		if !from.has(i) {
			continue
		}
		if n := m.legs[i].reading.Load(); best < 0 || n < fewest {
			best, fewest = i, n
		}
	}
	return best
}

func (m *Mirror) readLeg(i int, p []byte, off int64) error {
	l := m.legs[i]
	l.reading.Add(1)
	defer l.reading.Add(-1)
	seam.Point("mirror.read", uint64(off))
	n, err := l.dev.ReadAt(p, m.geo.dataOff()+off)
	if err == nil && n < len(p) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		l.readErrors.Add(1)
		return fmt.Errorf("leg %s: %w", l.name, err)
	}
	return nil
}

// readAwaiting reads a range of one region that awaits resync, from the leg
// that answers for it, and returns the leg that gave the bytes.
func (m *Mirror) readAwaiting(p []byte, off int64) (from int, err error) {
	region, _ := m.regions.span(off, 1)
	in := m.inSync()
	source := m.regions.sourceOf(region, in)
	if err = m.readLeg(source, p, off); err == nil {
		return source, nil
	}
	for i := range m.legs {
		if i != source && in.has(i) && m.readLeg(i, p, off) == nil {
			m.regions.moveSource(region, source, i)
			return i, nil
		}
	}
	return -1, err
}

// Extents lists what is data and what is hole, as one leg in sync has it. A
// region that awaits resync is data.
func (m *Mirror) Extents(off, n int64, yield func(device.Extent) bool) error {
	if m.closed.Load() {
		return m.closedErr("extents")
	}
	if err := device.CheckRange(m.geo.dataSize, off, n); err != nil {
		return m.opError("extents", off, n, err)
	}
	more := true
	for end := off + n; off < end && more; {
		n, waits := m.regions.route(off, end-off)
		if waits {
			more = yield(device.Extent{Off: off, Len: n})
		} else if err := m.legExtents(off, n, &more, yield); err != nil {
			return m.opError("extents", off, n, err)
		}
		off += n
	}
	return nil
}

func (m *Mirror) legExtents(off, n int64, more *bool, yield func(device.Extent) bool) error {
	base := m.geo.dataOff()
	l := m.legs[m.pick(m.inSync(), off)]
	err := device.Extents(l.dev, base+off, n, func(e device.Extent) bool {
		e.Off -= base
		*more = yield(e)
		return *more
	})
	if err != nil {
		l.readErrors.Add(1)
		return fmt.Errorf("leg %s: %w", l.name, err)
	}
	return nil
}

// opError adds to an error what the mirror was doing.
func (m *Mirror) opError(op string, off, n int64, err error) error {
	if err == nil {
		return nil
	}
	return &device.OpError{Op: op, Name: "mirror", Off: off, Len: n, Err: err}
}

func (m *Mirror) closedErr(op string) error { return m.opError(op, 0, 0, device.ErrClosed) }
