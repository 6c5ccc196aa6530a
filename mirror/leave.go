package mirror

import (
	"fmt"
	"slices"

	"github.com/google/uuid"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/eventlog"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// Fail takes a leg out of use, as if it had failed, and closes its device. What
// it misses is remembered; Attach brings it back. The last leg in sync is never
// given up.
func (m *Mirror) Fail(name string) error {
	return m.takeOut("fail", name, Failed)
}

// Remove takes a leg out of the pool for good: nothing is remembered for it, and
// the pool is no longer short of it. The last leg in sync is never given up.
func (m *Mirror) Remove(name string) error {
	return m.takeOut("remove", name, Removed)
}

func (m *Mirror) takeOut(op, name string, to MemberState) error {
	if m.closed.Load() {
		return m.closedErr(op)
	}
	var gone *leg
	err := m.change(func(ms *members) error {
		i, err := m.findIn(ms.view, name)
		if err != nil {
			return err
		}
		if in := m.inSync(); in == 1<<i {
			return fmt.Errorf("%w: %s holds what no other leg does: attach or add another, and wait until that is in sync", ErrLastLeg, m.leg(i).name)
		}
		gone = m.leg(i)
		if to != ms.view[i].State {
			m.slog.Warn("leg is taken out of use, as was asked", eventlog.Key, eventlog.LegTakenOut, "leg", gone.name, "uuid", gone.uuid, "state", to)
			m.mark(i, to)
		}
		legs := slices.Clone(m.legs())
		legs[i] = emptyLeg(gone.name, gone.uuid)
		legs[i].recall(gone.errors())
		m.legTable.Store(&legs)
		return nil
	})
	if gone != nil {
		m.letGo(gone)
	}
	return m.opError(op, 0, 0, err)
}

// letGo closes the device of a leg that is not used. What a device says that was
// given up helps nobody but the log.
func (m *Mirror) letGo(l *leg) {
	if err := l.dev.Close(); err != nil {
		m.slog.Warn("device of a leg that is not used failed to close", "leg", l.name, "error", err)
	}
}

// publish puts a leg in its place and returns what was there; nil is no place. What
// the leg was charged with before stays with it.
func (m *Mirror) publish(i int, l *leg) (before *leg) {
	m.members.mu.Lock()
	defer m.members.mu.Unlock()
	legs := slices.Clone(m.legs())
	if i < len(legs) {
		before = legs[i]
		legs = slices.Delete(legs, i, i+1)
	}
	if l != nil && before != nil && l.uuid == before.uuid {
		l.recall(before.errors())
	}
	if l != nil {
		legs = slices.Insert(legs, i, l)
	}
	m.legTable.Store(&legs)
	return before
}

// find returns the member that a person means by its name or UUID.
func (m *Mirror) find(name string) (int, ondisk.Member, error) {
	m.members.mu.Lock()
	defer m.members.mu.Unlock()
	i, err := m.findIn(m.members.view, name)
	if err != nil {
		return 0, ondisk.Member{}, err
	}
	return i, m.members.view[i], nil
}

func (m *Mirror) findIn(view []ondisk.Member, name string) (int, error) {
	for i, v := range view {
		if v.State != Removed && isNamed(name, v.Leg, m.leg(i).name) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%w: %s", ErrNoLeg, name)
}

// emptyLeg is a place whose device is not here.
func emptyLeg(name string, id uuid.UUID) *leg { return &leg{name: name, uuid: id, dev: absent{}} }

// leg returns what was found as a leg to be used.
func (f *found) leg() *leg {
	return &leg{name: f.Name, uuid: f.sb.Leg, dev: f.Dev, sb: *f.sb, worse: f.copies.Worse(), buf: device.Aligned(BlockSize)}
}
