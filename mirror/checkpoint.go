package mirror

import (
	"math"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/rangelock"
	"holdfast.dev/holdfast/journal"
)

// Checkpoint takes home all that is in the journal, and flushes.
func (m *Mirror) Checkpoint() error {
	r := &m.ring
	if r.j == nil {
		return nil
	}
	r.emptying.Lock()
	defer r.emptying.Unlock()
	if m.closed.Load() {
		return m.closedErr("checkpoint")
	}
	_, err := m.checkpoint(math.MaxInt64)
	return m.opError("checkpoint", 0, 0, err)
}

// checkpointLoop is the task that makes room in the background.
func (m *Mirror) checkpointLoop() {
	for !m.stopping.Load() {
		err := m.makeRoom()
		if err == nil {
			m.ring.bell.Sleep(0)
			continue
		}
		if !m.stopping.Load() {
			m.slog.Warn("journal: room could not be made; it is tried again", "error", err)
			// Whoever needs room or a flush sooner makes the room himself. The bell
			// would not let it rest: a flush that fails rings it, this task's too.
			m.ring.rests.Sleep(resyncRetry)
		}
	}
}

// makeRoom returns when the ring takes transactions again, and has room for some.
// The caller holds no range.
func (m *Mirror) makeRoom() error {
	r := &m.ring
	r.emptying.Lock()
	defer r.emptying.Unlock()
	if m.closed.Load() {
		return device.ErrClosed
	}
	if r.j.Status().Broken != nil {
		return m.drain()
	}
	for r.filled(highWater) {
		s := r.j.Status()
		freed, err := m.checkpoint(max(s.Used-s.Ring/lowWater, s.Used/2))
		if err != nil {
			return err
		}
		if !freed {
			return m.drain()
		}
	}
	return nil
}

// checkpoint frees at least n bytes of the ring, or as much as is durable there;
// what is not is flushed first. It says whether it freed anything. Requires
// ring.emptying.
func (m *Mirror) checkpoint(n int64) (freed bool, err error) {
	j := m.ring.j
	c := j.Checkpoint(n)
	if c.Empty() || n == math.MaxInt64 {
		if err := m.flushAll(); err != nil {
			return false, err
		}
		if c = j.Checkpoint(n); c.Empty() {
			return false, nil
		}
	}
	if err := m.takeHome(c.Home, false); err != nil {
		return false, err
	}
	if err := j.Await(c.Need); err != nil {
		return false, err
	}
	if err := m.flushAll(); err != nil {
		return false, err
	}
	_, err = m.release(c)
	return err == nil, err
}

// drain empties the ring, with nothing in flight, and mends it if it is broken.
// What it takes home may be durable nowhere: that is what the bits of the regions
// are for. Requires ring.emptying.
func (m *Mirror) drain() error {
	h := m.ranges.Acquire(0, m.geo.DataSize, rangelock.Exclusive)
	defer m.ranges.Release(h)
	_, err := m.drainHeld()
	return err
}

// empty is drain for who closes the pool.
func (m *Mirror) empty() error {
	if m.ring.j == nil {
		return nil
	}
	m.ring.emptying.Lock()
	defer m.ring.emptying.Unlock()
	return m.drain()
}

// drainHeld is drain for who holds the whole range. It returns the header that
// says that the ring is empty.
func (m *Mirror) drainHeld() (*journal.Header, error) {
	c, err := m.ring.j.Drain()
	if err != nil {
		return nil, err
	}
	if err := m.takeHome(c.Home, true); err != nil {
		return nil, err
	}
	if err := m.flushLegs(); err != nil {
		return nil, err
	}
	return m.release(c)
}

// release frees what a checkpoint was for. Requires ring.emptying.
func (m *Mirror) release(c *journal.Checkpoint) (*journal.Header, error) {
	h, err := m.ring.j.Release(c)
	if err != nil {
		return nil, err
	}
	err = m.land(m.ring.j, h)
	if err == nil {
		m.ring.checkpoints.Add(1)
	}
	return h, err
}

// land makes a header durable.
func (m *Mirror) land(j *journal.Journal, h *journal.Header) error {
	ok, err := m.onLegsAt(m.roll().targets(), opHeader, []journal.Write{h.Write})
	if err = m.settle(ok, err); err != nil {
		m.lostFlush(err)
	}
	m.ring.healing.land(j, h, err)
	return err
}
