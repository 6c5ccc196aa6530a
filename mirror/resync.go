package mirror

import (
	"bytes"
	"errors"
	"sync/atomic"
	"time"

	"holdfast.dev/holdfast/internal/invariants"
	"holdfast.dev/holdfast/internal/rangelock"
	"holdfast.dev/holdfast/internal/seam"
)

const (
	// resyncPiece is how much is compared and copied under one range lock, in
	// bytes: a writer behind it waits a millisecond or so.
	resyncPiece = 256 << 10
	// resyncRetry is how long the task waits before it tries regions again
	// that could not be read or written.
	resyncRetry = 10 * time.Second
)

var errStopped = errors.New("resync was stopped")

// resync is the state of the task that makes the legs equal again.
type resync struct {
	bell *seam.Alarm

	regions      atomic.Uint64 // made equal since open
	bytesRead    atomic.Uint64
	bytesWritten atomic.Uint64
	differed     atomic.Uint64 // blocks

	mu seam.Mutex
	// All below is guarded by mu, which is held while a region is resynced.

	cursor   int  // the next region of this pass
	progress bool // some region was made equal in this pass
	src, dst []byte
}

// resyncLoop is the background task.
func (m *Mirror) resyncLoop() {
	for !m.stopping.Load() {
		if m.ResyncStep() {
			continue
		}
		var wait time.Duration // until rung
		if m.regions.awaitingCount.Load() > 0 {
			wait = resyncRetry
		}
		m.resync.bell.Sleep(wait)
	}
}

// ResyncStep makes the legs equal in one region that awaits it. It returns
// false if there is none, or if all that are left have just failed.
func (m *Mirror) ResyncStep() bool {
	rc, rs := &m.resync, m.regions
	rc.mu.Lock()
	defer rc.mu.Unlock()
	i := rs.nextAwaiting(rc.cursor)
	if i < 0 {
		more := rc.progress && rs.awaitingCount.Load() > 0
		rc.cursor, rc.progress = 0, false
		return more
	}
	rc.cursor = i + 1
	err := m.resyncRegion(i)
	switch {
	case errors.Is(err, errStopped):
		return false
	case err != nil:
		off, n := m.byteRange(run{i, i})
		m.slog.Warn("resync: region stays as it is", "offset", off, "length", n, "error", err)
	default:
		rc.progress = true
	}
	return true
}

// resyncRegion makes the legs equal in one region, a piece at a time. Requires
// m.resync.mu.
func (m *Mirror) resyncRegion(i int) error {
	rc := &m.resync
	if rc.src == nil {
		n := int(min(resyncPiece, m.geo.regionSize))
		rc.src, rc.dst = alignedBytes(n), alignedBytes(n)
	}
	why := m.regions.resyncBegin(i)
	off, n := m.byteRange(run{i, i})
	for end := off + n; off < end; off += resyncPiece {
		h := m.ranges.Acquire(off, min(resyncPiece, end-off), rangelock.Exclusive)
		err := m.resyncRange(off, min(resyncPiece, end-off), why&rewrite != 0)
		m.ranges.Release(h)
		if err != nil {
			return err
		}
	}
	if m.regions.resyncEnd(i) {
		rc.regions.Add(1)
	}
	return nil
}

// resyncRange makes the legs equal in a range of one region, which is held
// exclusively. With all, every leg is written whether it differs or not.
func (m *Mirror) resyncRange(off, n int64, all bool) error {
	if m.stopping.Load() || m.closed.Load() {
		return errStopped
	}
	in := m.inSync()
	if in.len() == 1 && !all {
		return nil
	}
	rc, rs := &m.resync, m.regions
	src := rc.src[:n]
	from, err := m.readAwaiting(src, off)
	if err != nil {
		return err
	}
	rc.bytesRead.Add(uint64(n))
	first, last := rs.span(off, n)
	durable := rs.begin(first, last)
	defer rs.end(first, last)
	if !durable {
		if err := m.ensure(first, last); err != nil {
			return err
		}
	}
	ok := in
	for i := range m.legs {
		if !in.has(i) || i == from && !all {
			continue
		}
		if e := m.makeEqual(i, src, off, all); e != nil {
			err, ok = e, ok&^(1<<i)
		}
	}
	return m.settle(ok, err)
}

// makeEqual writes to a leg what it has not like src. What cannot be read is
// taken for different.
func (m *Mirror) makeEqual(i int, src []byte, off int64, all bool) error {
	rc := &m.resync
	dst := rc.dst[:len(src)]
	if !all {
		if m.readLeg(i, dst, off) != nil {
			all = true
		} else {
			rc.bytesRead.Add(uint64(len(dst)))
		}
	}
	for at := 0; at < len(src); {
		n := differing(src[at:], dst[at:], all)
		if n == 0 {
			at += BlockSize
			continue
		}
		seam.Point("mirror.heal", uint64(off)+uint64(at))
		if err := writeFull(m.legs[i], src[at:at+n], m.geo.dataOff()+off+int64(at)); err != nil {
			m.legs[i].writeErrors.Add(1)
			return err
		}
		rc.bytesWritten.Add(uint64(n))
		rc.differed.Add(uint64(n / BlockSize))
		at += n
	}
	return nil
}

// differing returns the length of the run of blocks at the start of a and b
// that differ, or all if they are taken to.
func differing(a, b []byte, all bool) int {
	if all {
		return len(a)
	}
	n := 0
	for n < len(a) && !bytes.Equal(a[n:n+BlockSize], b[n:n+BlockSize]) {
		n += BlockSize
	}
	return n
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

// moveSource lets another leg answer for a region, once.
func (rs *regions) moveSource(i, from, to int) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if r := &rs.tab[i]; r.flags&(awaiting|moved) == awaiting && int(r.source) == from {
		r.source = uint8(to)
		r.flags |= moved
	}
}
