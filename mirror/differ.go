package mirror

import (
	"fmt"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/guard"
)

// mayDiffer returns the bits of the regions in which a device may hold other
// bytes than the pool: those that are a hole in both, of which no guard knows
// anything, are alike.
func (m *Mirror) mayDiffer(given Leg) ([]uint64, error) {
	bits := make([]uint64, len(m.regions.want))
	note := func(e device.Extent, base int64) bool {
		if !e.Hole && e.Len > 0 {
			m.setBits(bits, e.Off-base, e.Len)
		}
		return true
	}
	if err := m.Extents(0, m.geo.dataSize, func(e device.Extent) bool { return note(e, 0) }); err != nil {
		return nil, err
	}
	base := m.geo.dataOff()
	err := device.Extents(given.Dev, base, m.geo.dataSize, func(e device.Extent) bool { return note(e, base) })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", given.Name, err)
	}
	return bits, m.noteGuarded(bits)
}

// setBits sets the bits of the regions that a range touches.
func (m *Mirror) setBits(bits []uint64, off, n int64) {
	first, last := m.regions.span(off, n)
	for i := first; i <= last; i++ {
		setBit(bits, i)
	}
}

func (m *Mirror) allSet(bits []uint64, off, n int64) bool {
	first, last := m.regions.span(off, n)
	for i := first; i <= last; i++ {
		if !hasBit(bits, i) {
			return false
		}
	}
	return true
}

// noteGuarded sets the bits of the regions of which a guard knows something: a
// discard leaves a hole, and guards of zeros. Guards that are not on the legs yet
// are of regions whose bit is set anyway.
func (m *Mirror) noteGuarded(bits []uint64) error {
	if !m.guards.on() {
		return nil
	}
	a := m.geo.areas[areaGuards]
	var err error
	for left := m.inSync(); left != 0; {
		l := m.leg(left.first())
		left &= left - 1
		var failed error
		err = device.Extents(l.dev, a.off, a.len, func(e device.Extent) bool {
			for at := (e.Off - a.off) / BlockSize; !e.Hole && failed == nil && at*BlockSize < e.Off+e.Len-a.off; at++ {
				failed = m.noteTuples(bits, at*guardSpan)
			}
			return failed == nil
		})
		if err == nil {
			return failed
		}
		err = fmt.Errorf("leg %s: %w", l.name, err)
	}
	return err
}

// noteTuples does so for the data from off on that has its guards in one block.
func (m *Mirror) noteTuples(bits []uint64, off int64) error {
	n := min(guardSpan, m.geo.dataSize-off)
	if n <= 0 || m.allSet(bits, off, n) {
		return nil
	}
	b, err := m.guards.hold(off)
	if err != nil {
		return err
	}
	defer m.guards.drop(b)
	var tuples [tuplesPerBlock]guard.Tuple
	known := tuples[:n/BlockSize]
	if m.guards.copyOut(known, b, off) {
		m.setBits(bits, off, n) // the legs disagree
		return nil
	}
	for i, t := range known {
		if t.Known() {
			m.setBits(bits, off+int64(i)*BlockSize, BlockSize)
		}
	}
	return nil
}
