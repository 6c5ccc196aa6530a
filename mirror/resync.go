package mirror

import (
	"errors"
	"sync/atomic"
	"time"

	"holdfast.dev/holdfast/internal/eventlog"
	"holdfast.dev/holdfast/internal/invariants"
	"holdfast.dev/holdfast/internal/rangelock"
	"holdfast.dev/holdfast/internal/seam"
)

// resyncRetry is how long the task waits before it tries regions again that
// could not be read or written.
const resyncRetry = 10 * time.Second

// resyncPause is how long it waits then though it is rung: each flush that fails on
// every leg rings, and its own is one of these.
const resyncPause = time.Second

var errStopped = errors.New("resync was stopped")

// resync is the state of the task that makes the legs equal again.
type resync struct {
	bell *seam.Alarm
	// rests is for the rests that others have: a ring of the bell must not be spent
	// on one.
	rests *seam.Alarm

	regions      atomic.Uint64 // made equal since open
	bytesRead    atomic.Uint64
	bytesWritten atomic.Uint64
	differed     atomic.Uint64 // blocks

	share atomicShare
	bout  bout

	mu seam.Mutex
	// All below is guarded by mu, which is held while a region is resynced.

	cursor   int  // the next region of this pass
	progress bool // some region was made equal in this pass
}

// resyncLoop is the background task.
func (m *Mirror) resyncLoop() {
	for !m.stopping.Load() {
		if m.ResyncStep() {
			continue
		}
		var wait time.Duration // until rung
		if m.regions.awaitingCount.Load() > 0 || m.roll().joining != 0 {
			wait = resyncRetry
			m.resync.rests.Sleep(resyncPause)
		}
		m.resync.bell.Sleep(wait)
	}
}

// ResyncStep makes the legs equal in one region that awaits it, or, if there is
// none, puts the legs that were joining in sync. It returns false if there is
// nothing to do, or if all that is left has just failed.
func (m *Mirror) ResyncStep() bool {
	rc, rs := &m.resync, m.regions
	rc.mu.Lock()
	defer rc.mu.Unlock()
	i := rs.nextAwaiting(rc.cursor)
	if i < 0 {
		if rs.awaitingCount.Load() == 0 {
			m.endBout()
		}
		more := rc.progress && rs.awaitingCount.Load() > 0
		rc.cursor, rc.progress = 0, false
		return more || m.promote()
	}
	rc.cursor = i + 1
	m.beginBout()
	err := m.resyncRegion(i)
	switch {
	case errors.Is(err, errStopped):
		return false
	case err != nil:
		off, n := m.byteRange(run{i, i})
		m.slog.Warn("resync: region stays as it is", eventlog.Key, eventlog.ResyncStuck, "offset", off, "length", n, "error", err)
	default:
		rc.progress = true
	}
	return true
}

// resyncRegion makes the legs equal in one region, a piece at a time. Requires
// m.resync.mu.
func (m *Mirror) resyncRegion(i int) error {
	why := m.regions.resyncBegin(i)
	md := m.menders.get()
	defer m.menders.put(md)
	off, left := m.byteRange(run{i, i})
	changed := false
	for left > 0 {
		n := min(md.pieceAt(off, left), left)
		began := seam.Now()
		h := m.ranges.Acquire(off, n, rangelock.Exclusive)
		free, held := m.ring.lead(off, n)
		err := error(nil)
		if held != nil {
			n = BlockSize // a checkpoint will write it to all
		} else {
			n = free
			err = m.resyncPiece(md, off, n, why&rewrite != 0)
			changed = changed || md.changed
		}
		m.ranges.Release(h)
		if err != nil {
			return err
		}
		off, left = off+n, left-n
		m.resync.bout.advance(n)
		if wait := rest(m.resync.share.load(), seam.Now().Sub(began)); wait > 0 && !m.manual {
			m.resync.rests.Sleep(wait)
		}
	}
	if changed {
		if err := m.flushLegs(); err != nil {
			return err
		}
	}
	if m.regions.resyncEnd(i) {
		m.resync.regions.Add(1)
	}
	return nil
}

// resyncPiece makes the legs equal in a piece of one region, which is held
// exclusively. With all, every leg is written whether it differs or not.
func (m *Mirror) resyncPiece(md *mender, off, n int64, all bool) error {
	if m.stopping.Load() || m.closed.Load() {
		return errStopped
	}
	targets := m.roll().targets()
	if targets.len() == 1 && !all && !m.guards.on() {
		return nil
	}
	how := mendFlags(0)
	if all {
		how = mendAll
	}
	if err := md.mend(off, n, how); err != nil {
		return err
	}
	m.resync.bytesRead.Add(uint64(n) * uint64(targets.len()))
	return md.unsettled()
}

// nextAwaiting returns the first region from i on that awaits resync, or -1.
func (rs *regions) nextAwaiting(i int) int {
	if rs.awaitingCount.Load() == 0 {
		return -1
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for i = nextBit(rs.want, i); i >= 0; i = nextBit(rs.want, i+1) {
		if rs.tab[i].flags&awaiting != 0 {
			return i
		}
	}
	return -1
}

// resyncBegin notes that a region's resync starts and says what it is for.
func (rs *regions) resyncBegin(i int) regionFlags {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := &rs.tab[i]
	invariants.Check(r.flags&awaiting != 0, "region %d is resynced and does not await it", i)
	r.flags &^= again
	return r.flags
}

// resyncEnd notes that all legs were made equal in a region. It returns false
// if something went wrong there meanwhile and it must be done again.
func (rs *regions) resyncEnd(i int) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := &rs.tab[i]
	if r.flags&again != 0 {
		return false
	}
	r.flags = 0
	rs.awaitingCount.Add(-1)
	return true
}

// route says how much of [off, off+n), from its start, is to be read in one
// way, and whether that is in a region that awaits resync.
func (rs *regions) route(off, n int64) (length int64, waits bool) {
	if rs.awaitingCount.Load() == 0 {
		return n, false
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	first, last := rs.span(off, n)
	waits = rs.tab[first].flags&awaiting != 0
	for i := first + 1; i <= last; i++ {
		if waits || rs.tab[i].flags&awaiting != 0 {
			return int64(i)<<rs.shift - off, waits
		}
	}
	return n, waits
}

// calm says whether the legs in sync are equal in all regions of a range.
func (rs *regions) calm(off, n int64) bool {
	if rs.awaitingCount.Load() == 0 {
		return true
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	first, last := rs.span(off, n)
	for i := first; i <= last; i++ {
		if rs.tab[i].flags&inFlight != 0 {
			return false
		}
	}
	return true
}

// anyDisturbed says whether the legs in sync may differ anywhere.
func (rs *regions) anyDisturbed() bool { return !rs.calm(0, int64(rs.n)<<rs.shift) }

// sourceOf returns the leg that answers for a region that awaits resync. If
// that has failed, the first in sync takes its place for good.
func (rs *regions) sourceOf(i int, in legMask) int {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := &rs.tab[i]
	if !in.has(int(r.source)) {
		r.source = uint8(in.first())
	}
	return int(r.source)
}
