package cache

import (
	"fmt"

	"holdfast.dev/holdfast/internal/eventlog"
	"holdfast.dev/holdfast/internal/invariants"
	"holdfast.dev/holdfast/internal/seam"
)

// sync makes the pages of [first, end) durable that were written before it was
// called. It tags what is dirty TOWRITE and writes those, so it ends however
// fast others write; then it waits for the pages that somebody else had claimed;
// then for those that were taken away dirty, until the backing has zeroed them; then it
// flushes.
//
// A flush that was under way when it began and failed since has made pages dirty
// that it had taken for written: then it fails too, though its own flush did not. The
// same goes for a discard that failed and dropped what was to be written.
func (m *Mapping) sync(first, end int64) error {
	before := m.faults.count()
	m.findStored(first, end)
	m.writeBack(first, end, walk{wait: true, retry: true, flush: true})
	m.awaitLeaving(first, end)
	err := m.stabilize()
	if err == nil {
		err = m.faults.since(before)
	}
	if n, bad := m.tags.failed.next(first, end); bad {
		return fmt.Errorf("cache: %s: %w: the page at %d is still dirty: %w", m.o.Name, ErrWriteOut, n*PageSize, m.errs.last())
	}
	return err
}

// writeBack writes out what is dirty in [first, end) at this moment, and
// returns when no write-out that was under way when it was called still is.
func (m *Mapping) writeBack(first, end int64, how walk) {
	m.tags.dirty.addTo(m.tags.towrite, first, end)
	m.tags.pinned.addTo(m.tags.towrite, first, end)
	m.writeOut(m.tags.towrite, first, end, how)
	for n := first; ; n++ {
		next, ok := m.tags.writeback.next(n, end)
		if !ok {
			return
		}
		pg := m.page(next)
		pg.waitWriteback()
		n = next
	}
}

// SyncRange writes out what is dirty in the pages that [off, off+n) touches,
// without a flush and without telling errors to anyone: a page that could not
// be written is dirty after it. It is for the region log, which flushes the
// legs itself.
func (m *Mapping) SyncRange(off, n int64) error {
	first, end := off/PageSize, (off+n+PageSize-1)/PageSize
	m.findStored(first, end)
	m.writeBack(first, end, walk{wait: true, retry: true})
	if m.tags.failed.any(first, end) {
		return fmt.Errorf("cache: %s: %w", m.o.Name, ErrWriteOut)
	}
	return nil
}

// Quiet says whether no page that [off, off+n) touches is dirty, under write-out,
// mapped writable (such a page is dirty or pinned), pinned for writing or held. DIRTY is
// looked at twice: a page whose write-out fails goes from WRITEBACK to DIRTY, all
// others the other way; and last, for it is where held and pinned pages go.
func (m *Mapping) Quiet(off, n int64) bool {
	first, end := off/PageSize, (off+n+PageSize-1)/PageSize
	m.findStored(first, end)
	t := m.tags
	return !t.dirty.any(first, end) && !t.held.any(first, end) && !t.pinned.any(first, end) &&
		!t.writeback.any(first, end) && !t.dirty.any(first, end)
}

// stabilize flushes the backing if anything that was written waits for it.
// Callers share flushes.
func (m *Mapping) stabilize() error {
	if !m.tags.unstable.any() {
		return nil
	}
	return m.flushes.Do(m.flush)
}

// flush makes what was written before it stable; only one runs at a time. What
// it covers is fixed before the backing is asked: what is written meanwhile
// waits for the next. If it fails nobody knows which of the covered writes are
// on the disk, so their pages, which reclaim has left in memory, become dirty
// again.
func (m *Mapping) flush() error {
	u := &m.tags.unstable
	other := u.begin()
	seam.Point("cache.flush", m.id)
	err := m.backing.Flush()
	if err == nil {
		u.succeed()
		m.faults.succeed()
		return nil
	}
	err = fmt.Errorf("cache: %s: %w: flush: what was written since the last good one is written again: %w", m.o.Name, ErrWriteOut, err)
	m.redirty()
	// As with pages that cannot be written, watchers are told that flushes fail,
	// not of each: who asked for this one is told by its result. It is counted
	// when its pages are dirty: a sync that begins after the count finds them so.
	first := m.faults.fail(err)
	u.fail(other)
	if first {
		m.errs.set(err)
		m.c.o.Log.Error("flush failed", eventlog.Key, eventlog.FlushFailed, "volume", m.o.Name, "err", err)
	}
	return err
}

// redirty makes the pages that a failed flush covered dirty again.
func (m *Mapping) redirty() {
	u := &m.tags.unstable
	for n := int64(0); ; n++ {
		next, ok := u.flushing.next(n, m.arenaPages())
		if !ok {
			return
		}
		n = next
		pg := m.page(n)
		if !m.lockForWriteOut(&pg, walk{wait: true, retry: true}) {
			continue
		}
		m.redirtyPage(&pg)
	}
}

// redirtyPage makes every valid sector dirty and unlocks the page. If its owner
// does not agree a second time the page stays unstable, so that it cannot leave
// memory and the next flush that fails asks again.
func (m *Mapping) redirtyPage(pg *page) {
	w := pg.load()
	u := &m.tags.unstable
	set := word(0)
	switch {
	case w.valid() == 0:
		// Discarded meanwhile: forget has taken it out.
	case !w.has(reserved) && m.backing.Reserve(pg.n*PageSize, PageSize) != nil:
		u.add(pg.n, 1)
	default:
		if !w.has(reserved) {
			m.countDirty()
		}
		if !w.has(held) {
			m.tags.dirty.set(pg.n)
		}
		set = reserved | dirtyBits(w.valid())
	}
	u.mu.Lock()
	u.flushing.clear(pg.n)
	u.mu.Unlock()
	invariants.Check(!w.has(writeback), "cache: page %d redirtied under write-out", pg.n)
	pg.unlock(0, set)
}

// arenaPages is how many pages the mapping was made for, whatever it has been
// truncated to.
func (m *Mapping) arenaPages() int64 { return int64(len(m.arena.mem)) / PageSize }

// faults remembers what failed that a sync may have relied on without being told
// itself: the flushes of a mapping, and what took pages away.
type faults struct {
	mu seam.Mutex
	// Guarded by mu: how many there were, the last one's error, and whether it was a
	// flush and none has succeeded since.
	n       uint64
	err     error
	failing bool
}

// count is how many there were.
func (f *faults) count() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

// since returns the last error if there are more than n.
func (f *faults) since(n uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n == n {
		return nil
	}
	return f.err
}

// fail counts a flush that failed, and says whether the one before did not.
func (f *faults) fail(err error) (first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	first = !f.failing
	f.n, f.err, f.failing = f.n+1, err, true
	return first
}

// lose counts something that failed and has dropped dirty pages.
func (f *faults) lose(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n, f.err = f.n+1, err
}

func (f *faults) succeed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failing = false
}
