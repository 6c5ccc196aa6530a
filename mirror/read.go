package mirror

import (
	"errors"
	"fmt"
	"io"

	"holdfast.dev/holdfast/internal/rangelock"
	"holdfast.dev/holdfast/internal/seam"
	"holdfast.dev/holdfast/journal"
)

// readStripe is how much of the data area prefers the same leg, in bytes, so
// that a sequential reader stays on one while two readers may have two.
const readStripe = 1 << 20

// errMend says that a read found something to be mended first.
var errMend = errors.New("to be mended")

// ReadAt reads len(p) bytes at off from one leg. Where that fails, or holds
// something else than was written, or the legs may differ, they are made equal
// first.
func (m *Mirror) ReadAt(p []byte, off int64) (int, error) {
	n := int64(len(p))
	h, err := m.enter("read", off, n, rangelock.Shared)
	if h == nil {
		return 0, err
	}
	err = m.readSound(p, off)
	m.ranges.Release(h)
	if err != nil {
		if h, err = m.enter("read", off, n, rangelock.Exclusive); err != nil {
			return 0, err
		}
		err = m.readMending(p, off)
		m.ranges.Release(h)
	}
	if err != nil {
		return 0, m.opError("read", off, n, err)
	}
	return len(p), nil
}

// readSound reads a range if nothing there has to be mended. Requires the range.
func (m *Mirror) readSound(p []byte, off int64) error {
	return m.readParts(p, off, m.readHome)
}

// readParts reads a range: from the ring what that holds, for it is the newest,
// and the rest by home.
func (m *Mirror) readParts(p []byte, off int64, home func(p []byte, off int64) error) error {
	var few [4]journal.Version
	held := m.ring.held(off, int64(len(p)), few[:0])
	for i := range held {
		if free := startOf(&held[i]) - off; free > 0 {
			if err := home(p[:free], off); err != nil {
				return err
			}
			p, off = p[free:], off+free
		}
		n, err := m.readHeld(&held[i], p, off)
		if errors.Is(err, errMoved) {
			return m.readParts(p, off, home)
		}
		if err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	if len(p) == 0 {
		return nil
	}
	return home(p, off)
}

// readHome reads from the data area if nothing there has to be mended. Requires
// the range.
func (m *Mirror) readHome(p []byte, off int64) error {
	if !m.regions.calm(off, int64(len(p))) {
		return errMend
	}
	if !m.guards.on() {
		return m.readLeg(m.pick(m.inSync(), off), p, off)
	}
	for len(p) > 0 {
		n, err := m.readChecked(p, off)
		if err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// readChecked reads a part of p from its start, and checks it: whole blocks that
// have their guards in one block, or what p wants of one block of data.
func (m *Mirror) readChecked(p []byte, off int64) (int, error) {
	if skip := off % BlockSize; skip != 0 || len(p) < BlockSize {
		b := m.oneBlock.get()
		defer m.oneBlock.put(b)
		if err := m.readBlocks(b[:], off-skip); err != nil {
			return 0, err
		}
		return copy(p, b[skip:]), nil
	}
	n := min(int64(len(p))/BlockSize*BlockSize, guardSpan-off%guardSpan)
	return int(n), m.readBlocks(p[:n], off)
}

// readBlocks reads and checks whole blocks that have their guards in one block.
func (m *Mirror) readBlocks(p []byte, off int64) error {
	b, err := m.guards.hold(off)
	if err != nil {
		return err
	}
	defer m.guards.drop(b)
	if err := m.readLeg(m.pick(m.inSync(), off), p, off); err != nil {
		return err
	}
	return m.verify(b, p, off)
}

// readMending reads a range of which it makes the legs equal. Requires the range
// exclusively.
func (m *Mirror) readMending(p []byte, off int64) error {
	return m.readParts(p, off, m.mendHome)
}

// mendHome reads from the data area where it makes the legs equal. Requires the
// range exclusively, and that the ring holds nothing of its blocks.
func (m *Mirror) mendHome(p []byte, off int64) error {
	md := m.menders.get()
	defer m.menders.put(md)
	for len(p) > 0 {
		start := off / BlockSize * BlockSize
		n := md.pieceAt(start, off+int64(len(p))-start)
		err := md.mend(start, n, 0)
		if err == nil && md.changed {
			err = m.flushLegs()
		}
		if err != nil {
			return err
		}
		in := off - start
		if err := md.badIn(in, min(int64(len(p)), n-in)); err != nil {
			return err
		}
		k := copy(p, md.out[in:n])
		p, off = p[k:], off+int64(k)
	}
	return nil
}

// pick returns the leg with the fewest reads in flight; the offset decides
// between equals.
func (m *Mirror) pick(from legMask, off int64) int {
	best, fewest := -1, int32(0)
	start := int(off / readStripe % int64(len(m.legs())))
	for k := range m.legs() {
		i := (start + k) % len(m.legs())
		if !from.has(i) {
			continue
		}
		if n := m.leg(i).reading.Load(); best < 0 || n < fewest {
			best, fewest = i, n
		}
	}
	return best
}

// readLeg reads from the data area of a leg.
func (m *Mirror) readLeg(i int, p []byte, off int64) error {
	return m.readArea(i, p, m.geo.DataOff()+off)
}

// readArea reads from anywhere on a leg.
func (m *Mirror) readArea(i int, p []byte, at int64) error {
	l := m.leg(i)
	l.reading.Add(1)
	defer l.reading.Add(-1)
	seam.Point("mirror.read", uint64(at))
	n, err := l.dev.ReadAt(p, at)
	if err == nil && n < len(p) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		m.charge(l, &l.readErrors, "read", at, int64(len(p)), err)
		return fmt.Errorf("leg %s: %w", l.name, err)
	}
	return nil
}
