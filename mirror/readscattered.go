package mirror

import (
	"fmt"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/internal/seam"
)

// ReadScattered fills parts as ReadAt would, but as many as can be with one call of a
// leg. Those that are no whole blocks, or that the journal has, or that somebody is at,
// are read by themselves, or with those that follow. It heals nothing: where a block is
// not as it was written, or cannot be read, it fails, and that is left to ReadAt.
func (m *Mirror) ReadScattered(parts []device.Part) error {
	return m.scattered(&reading, parts)
}

// read reads the parts, each with its range, from one leg, and checks them.
func (s *spread) read() error {
	m := s.m
	i := m.pick(m.inSync(), s.spans[0].off)
	if err := m.readLegScattered(i, s.parts); err != nil {
		return err
	}
	for _, at := range s.spans {
		if at.guards == nil {
			continue
		}
		if err := m.verify(at.guards, at.p, at.off); err != nil {
			return fmt.Errorf("%w: what is at %d is healed, or known to be lost, when it is read by itself", device.ErrGuard, at.off)
		}
	}
	return nil
}

// readLegScattered reads parts from anywhere on a leg.
func (m *Mirror) readLegScattered(i int, parts []device.Part) error {
	l := m.leg(i)
	l.reading.Add(int32(len(parts)))
	defer l.reading.Add(-int32(len(parts)))
	seam.Point("mirror.read", uint64(parts[0].Off))
	if err := device.ReadScattered(l.dev, parts); err != nil {
		m.charge(l, &l.readErrors, "scattered read", parts[0].Off, 0, err)
		return fmt.Errorf("leg %s: %w", l.name, err)
	}
	return nil
}

// verify says whether whole blocks that were read, which have their guards in one
// block, are what was written there.
func (m *Mirror) verify(b *guardBlock, p []byte, off int64) error {
	var tuples [tuplesPerBlock]guard.Tuple
	want := tuples[:len(p)/BlockSize]
	if m.guards.copyOut(want, b, off) {
		return errMend
	}
	number := uint64(off / BlockSize)
	for i, t := range want {
		if !m.guards.binding.Holds(t, number+uint64(i), p[i*BlockSize:][:BlockSize]) {
			return errMend
		}
	}
	return nil
}
