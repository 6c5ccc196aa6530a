package mirror

import (
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/seam"
)

// flusher lets callers of Flush share the flushes of the legs: who comes while
// one runs waits for the next, which serves all who came meanwhile.
type flusher struct {
	mu seam.Mutex
	// All below is guarded by mu.

	turn    *seam.Cond
	running bool
	closed  bool
	next    *flight // nil until somebody asks for it
	// debt is a flush that failed on every leg and that no caller of Flush was
	// told of yet: the helper or the log asked for it.
	debt error
}

// flight is one flush of all legs.
type flight struct {
	done bool
	err  error
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
	err := m.flushLegs()
	fl := &m.flusher
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if err == nil {
		err = fl.debt
	}
	fl.debt = nil
	return err
}

// flushLegs flushes the legs, or shares a flush that begins after the call.
func (m *Mirror) flushLegs() error {
	fl := &m.flusher
	fl.mu.Lock()
	defer fl.mu.Unlock()
	if fl.next == nil {
		fl.next = &flight{}
	}
	mine := fl.next
	for !mine.done {
		if fl.running {
			fl.turn.Wait()
			continue
		}
		if fl.closed {
			return device.ErrClosed
		}
		fl.next, fl.running = nil, true
		fl.mu.Unlock()
		err := m.flushOnce()
		fl.mu.Lock()
		fl.running = false
		mine.done, mine.err = true, err
		fl.turn.Broadcast()
	}
	return mine.err
}

// stop waits for the flush that runs, and lets no other start.
func (fl *flusher) stop() {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.closed = true
	for fl.running {
		fl.turn.Wait()
	}
}

// flushOnce flushes the legs. Only one task at a time does.
func (m *Mirror) flushOnce() error {
	rs := m.regions
	number := rs.flushBegun.Add(1)
	ok, err := m.onLegs(m.inSync(), opFlush, nil, 0, 0)
	if err := m.settle(ok, err); err != nil {
		m.lostFlush(err)
		return err
	}
	rs.flushGood.Store(number)
	return nil
}

// lostFlush sees to a flush that failed on every leg. What was written since
// the last good one may not be durable, though it still reads well and a later
// flush may succeed: so its regions are written anew to every leg, and the
// next caller of Flush is told.
func (m *Mirror) lostFlush(err error) {
	m.regions.spoilUnflushed(m.inSync().first())
	m.flusher.mu.Lock()
	m.flusher.debt = err
	m.flusher.mu.Unlock()
	for _, l := range m.legs {
		l.flushMu.Lock()
		l.lost = nil
		l.flushMu.Unlock()
	}
	m.resync.bell.Ring()
}
