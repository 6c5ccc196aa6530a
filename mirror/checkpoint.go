package mirror

import (
	"errors"
	"fmt"
	"math"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/eventlog"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/internal/rangelock"
	"holdfast.dev/holdfast/journal"
)

// homeBlocks is how many blocks that lie side by side are taken home at once.
const homeBlocks = mendBlocks

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
	h := m.ranges.Acquire(0, m.geo.dataSize, rangelock.Exclusive)
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
	for left := vs; len(left) > 0; {
		n, err := m.takeRuns(left, all)
		if err == nil && n == 0 {
			n = alike(left)
			err = m.takeRun(left[:n], all)
		}
		if err != nil {
			return err
		}
		m.ring.homes.Add(uint64(n))
		left = left[n:]
	}
	return nil
}

// alike returns how many versions, from the first, lie side by side, have their
// guards in one block, and are all zeros or all not.
func alike(vs []journal.Version) int {
	n := 1
	for n < len(vs) && n < homeBlocks && vs[n].Block == vs[0].Block+uint64(n) &&
		vs[n].Zeros == vs[0].Zeros && startOf(&vs[n])/guardSpan == startOf(&vs[0])/guardSpan {
		n++
	}
	return n
}

// takeRuns writes the first versions home, as many as it can in one turn of the
// legs, and returns how many. If that is none nothing was done. It waits for no
// range; what is not free, or cannot be read, is for takeRun. Requires their regions
// begun.
func (m *Mirror) takeRuns(vs []journal.Version, all bool) (n int, err error) {
	s := m.spreads.get()
	defer s.giveBack()
	buf := m.takenBuf()
	for n < len(vs) && len(s.spans) < spreadMost {
		run := vs[n:][:alike(vs[n:])]
		if n+len(run) > homeBlocks || !s.takeVersions(run, buf[n*BlockSize:], all) {
			break
		}
		n += len(run)
	}
	if n == 0 {
		return 0, nil
	}
	return n, s.write()
}

// takenBuf is what versions are read to that are taken home.
func (m *Mirror) takenBuf() []byte {
	if m.ring.taken == nil {
		m.ring.taken = alignedBytes(homeBlocks * BlockSize)
	}
	return m.ring.taken
}

// takeVersions takes what versions need that are alike, reads them to buf, and says
// whether it could.
func (s *spread) takeVersions(vs []journal.Version, buf []byte, all bool) bool {
	m, off, n := s.m, startOf(&vs[0]), int64(len(vs))*BlockSize
	if vs[0].Zeros == journal.AllSectors {
		return false
	}
	at := span{off: off, p: buf[:n]}
	if !all {
		if at.held = m.ranges.TryAcquire(off, n, rangelock.Exclusive); at.held == nil {
			return false
		}
	}
	ok := !m.closed.Load() && !m.stopping.Load() || all
	for i := 0; ok && i < len(vs); i++ {
		ok = m.readVersion(&vs[i], at.p[i*BlockSize:][:BlockSize], nil) == nil
		at.tuples = append(at.tuples, guard.Tuple(vs[i].Tuple))
	}
	if ok {
		ok = s.add(at) == nil
	}
	if !ok && at.held != nil {
		m.ranges.Release(at.held)
	}
	return ok
}

// takeRun writes versions home that are alike. Requires their regions begun.
func (m *Mirror) takeRun(vs []journal.Version, all bool) error {
	if !all {
		h := m.ranges.Acquire(startOf(&vs[0]), int64(len(vs))*BlockSize, rangelock.Exclusive)
		defer m.ranges.Release(h)
		if m.closed.Load() || m.stopping.Load() {
			return device.ErrClosed
		}
	}
	if vs[0].Zeros == journal.AllSectors {
		return m.writeVersions(opZero, nil, vs)
	}
	buf, from := m.takenBuf(), 0
	for i := range vs {
		err := m.readVersion(&vs[i], buf[i*BlockSize:][:BlockSize], nil)
		if errors.Is(err, device.ErrGuard) {
			if err = m.writeVersions(opWrite, buf[from*BlockSize:], vs[from:i]); err == nil {
				err = m.loseVersion(&vs[i])
			}
			from = i + 1
		}
		if err != nil {
			return fmt.Errorf("the block at %d cannot be taken out of the journal: %w", startOf(&vs[i]), err)
		}
	}
	return m.writeVersions(opWrite, buf[from*BlockSize:], vs[from:])
}

// writeVersions writes versions that lie side by side.
func (m *Mirror) writeVersions(op legOp, buf []byte, vs []journal.Version) error {
	if len(vs) == 0 {
		return nil
	}
	var tuples [homeBlocks]guard.Tuple
	for i := range vs {
		tuples[i] = guard.Tuple(vs[i].Tuple)
	}
	n := int64(len(vs)) * BlockSize
	return m.writeHome(op, head(buf, n), startOf(&vs[0]), n, tuples[:len(vs)])
}

// loseVersion sees to a block that was in the ring, and that no leg has as it was
// written. With guards it gets the one that it should fit, so that what is at
// home, which is older, is not taken for it.
func (m *Mirror) loseVersion(v *journal.Version) error {
	m.ring.lost.Add(1)
	m.slog.Error("a block in the journal is on no leg as it was written: it is lost", eventlog.Key, eventlog.JournalLost, "offset", startOf(v))
	if !m.guards.on() {
		return nil
	}
	b, err := m.guards.hold(startOf(v))
	if err != nil {
		return err
	}
	defer m.guards.drop(b)
	m.guards.set(b, startOf(v), []guard.Tuple{guard.Tuple(v.Tuple)})
	return nil
}
