package mirror

import (
	"errors"
	"fmt"
	"slices"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/eventlog"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/internal/rangelock"
	"holdfast.dev/holdfast/journal"
)

// homeBlocks is how many blocks are taken home in one turn of the legs: as many as
// the system takes at once, and twice as many as in a turn of a client's writes,
// which do not wait for this one.
const homeBlocks = 64

// takeHome writes versions, ascending, home: the ordinary way, to all legs, under
// the bits of their regions. These are made durable together. With all the caller
// holds the whole range. Requires ring.emptying.
func (m *Mirror) takeHome(vs []journal.Version, all bool) error {
	begun := 0
	defer func() {
		for i := range vs[:begun] {
			first, last := m.regions.span(startOf(&vs[i]), BlockSize)
			m.regions.end(first, last)
		}
	}()
	for ; begun < len(vs); begun++ {
		m.regions.begin(m.regions.span(startOf(&vs[begun]), BlockSize))
	}
	for i := range vs {
		if err := m.ensure(m.regions.span(startOf(&vs[i]), BlockSize)); err != nil {
			return err
		}
	}
	hs, done, err := m.lying(vs), 0, error(nil)
	for err == nil && done < len(hs) {
		var n int
		n, err = m.takeHaul(hs[done:][:m.readHaul(hs[done:])], all)
		done += n
	}
	// What is at home gets its tuples also where the rest could not be taken there:
	// the ring may be lost before that can be, and the bits of the regions are clear.
	if e := m.giveTuples(hs[:done], all); err == nil {
		err = e
	}
	return err
}

// takeHaul writes home what one haul has, and returns how many versions that is.
func (m *Mirror) takeHaul(hs []homing, all bool) (done int, err error) {
	for done < len(hs) {
		left := hs[done:]
		n, err := m.takeRuns(left, all)
		if err == nil && n == 0 {
			n = alike(left)
			err = m.takeRun(left[:n], all)
		}
		if err != nil {
			return done, err
		}
		m.ring.homes.Add(uint64(n))
		done += n
	}
	return done, nil
}

// alike returns how many versions, from the first, lie side by side at home, and in
// the ring too or are zeros.
func alike(hs []homing) int {
	n, zeros := 1, hs[0].v.Zeros
	for n < len(hs) && n < homeBlocks && hs[n].v.Block == hs[0].v.Block+uint64(n) && hs[n].v.Zeros == zeros &&
		(zeros == journal.AllSectors || hs[n].off == hs[0].off+int64(n)*BlockSize) {
		n++
	}
	return n
}

// takeRuns writes the first versions home, as many as it can in one turn of the
// legs, and returns how many. If that is none nothing was done. It waits for no
// range; what is not free, or cannot be read, is for takeRun. Requires their regions
// begun.
func (m *Mirror) takeRuns(hs []homing, all bool) (n int, err error) {
	s := m.spreads.get()
	defer s.giveBack()
	for n < len(hs) {
		run := hs[n:][:alike(hs[n:])]
		if n+len(run) > homeBlocks || !s.takeVersions(run, all) {
			break
		}
		n += len(run)
	}
	if n == 0 {
		return 0, nil
	}
	return n, s.write()
}

// takeVersions takes what versions need that are alike, and says whether it could.
func (s *spread) takeVersions(run []homing, all bool) bool {
	m, off, n := s.m, startOf(run[0].v), int64(len(run))*BlockSize
	if run[0].off < 0 { // zeros, or the haul has no place of its own for it
		return false
	}
	at := span{off: off, p: m.ring.haul.of(&run[0], len(run))}
	if !all {
		if at.held = m.ranges.TryAcquire(off, n, rangelock.Exclusive); at.held == nil {
			return false
		}
	}
	ok := !m.closed.Load() && !m.stopping.Load() || all
	for i := 0; ok && i < len(run); i++ {
		ok = m.readHomed(&run[i]) == nil
	}
	if ok {
		s.add(at)
	} else if at.held != nil {
		m.ranges.Release(at.held)
	}
	return ok
}

// takeRun writes versions home that are alike. Requires their regions begun.
func (m *Mirror) takeRun(run []homing, all bool) error {
	off, n := startOf(run[0].v), int64(len(run))*BlockSize
	if !all {
		h := m.ranges.Acquire(off, n, rangelock.Exclusive)
		defer m.ranges.Release(h)
		if m.closed.Load() || m.stopping.Load() {
			return device.ErrClosed
		}
	}
	if run[0].v.Zeros == journal.AllSectors {
		return m.writeLegs(opZero, nil, off, n)
	}
	from := 0
	for i := range run {
		err := m.readHomed(&run[i])
		if errors.Is(err, device.ErrGuard) {
			err = m.writeHomed(run[from:i])
			m.loseVersion(run[i].v)
			from = i + 1
		}
		if err != nil {
			return fmt.Errorf("the block at %d cannot be taken out of the journal: %w", startOf(run[i].v), err)
		}
	}
	return m.writeHomed(run[from:])
}

// writeHomed writes versions that are alike, and have been read.
func (m *Mirror) writeHomed(run []homing) error {
	if len(run) == 0 {
		return nil
	}
	return m.writeLegs(opWrite, m.ring.haul.of(&run[0], len(run)), startOf(run[0].v), int64(len(run))*BlockSize)
}

// loseVersion tells of a block that was in the ring, and that no leg has as it was
// written. Like the others it gets its tuple, if there are guards: so what is at home,
// which is older, is not taken for it.
func (m *Mirror) loseVersion(v *journal.Version) {
	m.ring.lost.Add(1)
	m.slog.Error("a block in the journal is on no leg as it was written: it is lost", eventlog.Key, eventlog.JournalLost, "offset", startOf(v))
}

// giveTuples gives versions that are at home their tuples. Until the ring lets go of
// them nobody looks at what these are at home. So all get them at the end: a block of
// the guard area is written once for a checkpoint, and not by every flush meanwhile.
// Requires their regions begun, so that no bit is cleared in between.
func (m *Mirror) giveTuples(hs []homing, all bool) error {
	if !m.guards.on() {
		return nil
	}
	slices.SortFunc(hs, byBlock)
	for len(hs) > 0 {
		n := 1
		for n < len(hs) && startOf(hs[n].v)/guardSpan == startOf(hs[0].v)/guardSpan {
			n++
		}
		if err := m.giveTuplesOf(hs[:n], all); err != nil {
			return err
		}
		hs = hs[n:]
	}
	return nil
}

// giveTuplesOf does so for versions that have their guards in one block.
func (m *Mirror) giveTuplesOf(hs []homing, all bool) error {
	b, err := m.guards.hold(startOf(hs[0].v))
	if err != nil {
		return err
	}
	defer m.guards.drop(b)
	for i := range hs {
		off := startOf(hs[i].v)
		var h *rangelock.Held
		if !all {
			h = m.ranges.Acquire(off, BlockSize, rangelock.Exclusive)
		}
		open := all || !m.closed.Load() && !m.stopping.Load()
		if open {
			m.guards.set(b, off, []guard.Tuple{guard.Tuple(hs[i].v.Tuple)})
		}
		if h != nil {
			m.ranges.Release(h)
		}
		if !open {
			return device.ErrClosed
		}
	}
	return nil
}
