package mirror

import (
	"fmt"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// mayDiffer returns the bits of the regions in which a device may hold other
// bytes than the pool: those that are a hole in both, of which no guard knows
// anything, are alike.
func (m *Mirror) mayDiffer(given Leg) ([]uint64, error) {
	bits := make([]uint64, len(m.regions.want))
	note := func(e device.Extent, base int64) bool {
		if !e.Hole && e.Len > 0 {
			first, last := m.regions.span(e.Off-base, e.Len)
			for i := first; i <= last; i++ {
				setBit(bits, i)
			}
		}
		return true
	}
	if err := m.Extents(0, m.geo.DataSize, func(e device.Extent) bool { return note(e, 0) }); err != nil {
		return nil, err
	}
	base := m.geo.DataOff()
	err := device.Extents(given.Dev, base, m.geo.DataSize, func(e device.Extent) bool { return note(e, base) })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", given.Name, err)
	}
	return bits, m.noteGuarded(bits)
}

// noteGuarded sets the bits of the regions of which a guard knows something: a
// discard leaves a hole, and guards of zeros. Guards that are not on the legs yet
// are of regions whose bit is set anyway.
func (m *Mirror) noteGuarded(bits []uint64) error {
	if !m.guards.on() {
		return nil
	}
	a := m.geo.Areas[ondisk.AreaGuards]
	var err error
	for left := m.inSync(); left != 0; {
		l := m.leg(left.first())
		left &= left - 1
		var failed error
		err = device.Extents(l.dev, a.Off, a.Len, func(e device.Extent) bool {
			for at := (e.Off - a.Off) / BlockSize; !e.Hole && failed == nil && at*BlockSize < e.Off+e.Len-a.Off; at++ {
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
	for end := min(off+guardSpan, m.geo.DataSize); off < end; {
		region, _ := m.regions.span(off, 1)
		n := min(end-off, m.geo.RegionSize-off%m.geo.RegionSize)
		if !hasBit(bits, region) {
			known, err := m.guards.knows(off, n)
			if err != nil {
				return err
			}
			if known {
				setBit(bits, region)
			}
		}
		off += n
	}
	return nil
}
