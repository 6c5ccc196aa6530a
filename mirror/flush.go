package mirror

import (
	"errors"

	"holdfast.dev/holdfast/internal/groupcommit"
	"holdfast.dev/holdfast/internal/seam"
	"holdfast.dev/holdfast/journal"
)

// flusher lets callers of Flush share the flushes of the legs.
type flusher struct {
	group groupcommit.Group
	// staged belongs to the task that flushes.
	staged staged

	mu seam.Mutex
	// debt is a flush that failed on every leg and that no caller of Flush was
	// told of yet: the helper or the log asked for it. Guarded by mu.
	debt error
}

// Flush makes everything durable on every leg in sync that returned before it
// was called.
func (m *Mirror) Flush() error {
	if m.closed.Load() {
		return m.closedErr("flush")
	}
	return m.opError("flush", 0, 0, m.flushAndTell())
}

// flushAndTell flushes for a caller who hears of earlier failures too.
func (m *Mirror) flushAndTell() error {
	err := m.flushAll()
	if errors.Is(err, journal.ErrBroken) {
		if err = m.makeRoom(); err == nil {
			err = m.flushAll()
		}
	}
	fl := &m.flusher
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if err == nil {
		err = fl.debt
	}
	fl.debt = nil
	return err
}

// flushLegs flushes the legs, or shares a flush that begins after the call, for
// the sake of what is at home.
func (m *Mirror) flushLegs() error {
	err := m.flushAll()
	if errors.Is(err, journal.ErrBroken) {
		return nil
	}
	return err
}

// flushAll does the same for what is in the ring too: it fails with
// journal.ErrBroken where only that may be lost.
func (m *Mirror) flushAll() error { return m.flusher.group.Do(m.flushOnce) }

// flushOnce writes the guards of what was written before it, and flushes the
// legs. Only one task at a time does.
func (m *Mirror) flushOnce() error { return m.flushRing(nil) }

// flushRing does it when each leg has written a transaction, if there is one, before
// which every other is written; and gives it back. Requires the ranges of what is in
// it, so that no leg joins meanwhile.
func (m *Mirror) flushRing(x *journal.Transaction) error {
	rs := m.regions
	number := rs.flushBegun.Add(1)
	mark := m.ring.mark()
	guards := m.guards.dirtyBlocks()
	tried := m.roll().targets()
	var writes []journal.Write
	if x != nil {
		mark, writes = x.Seq(), x.Writes()
	}
	err := m.flushWith(tried, guards, writes)
	m.guards.done(guards, err == nil)
	if x != nil {
		m.ring.j.Wrote(x, err)
	}
	if err != nil {
		m.lostFlush(err)
		return err
	}
	rs.flushGood.Store(number)
	return m.ring.durable(mark)
}

// flushWith flushes the legs with blocks of the guard area, the last of which
// are written in the same turn, as are those to the journal.
//
// A leg that joins meanwhile is flushed, or will be, before it counts; what was
// written here of the guards of its regions is written again when it gets them.
func (m *Mirror) flushWith(tried legMask, guards []*guardBlock, writes []journal.Write) error {
	s := &m.flusher.staged
	for len(guards) > stagedBlocks {
		m.guards.stage(s, guards[:stagedBlocks])
		guards = guards[stagedBlocks:]
		ok, err := m.onLegs(tried, opGuards, nil, 0, 0)
		if err := m.settle(ok|^tried, err); err != nil {
			return err
		}
	}
	m.guards.stage(s, guards)
	ok, err := m.onLegsAt(tried, opFlush, writes)
	return m.settle(ok|^tried, err)
}

// owes says whether the next caller of Flush is to be told of an earlier one.
func (fl *flusher) owes() bool {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	return fl.debt != nil
}

// lostFlush sees to a flush that failed on every leg. What was written since
// the last good one may not be durable, though it still reads well and a later
// flush may succeed: so its regions are written anew to every leg, and the
// next caller of Flush is told.
func (m *Mirror) lostFlush(err error) {
	m.regions.spoilUnflushed(m.inSync().first())
	m.ring.broken(err)
	m.flusher.mu.Lock()
	m.flusher.debt = err
	m.flusher.mu.Unlock()
	for _, l := range m.legs() {
		l.flushMu.Lock()
		l.lost = nil
		l.flushMu.Unlock()
	}
	m.resync.bell.Ring()
}
