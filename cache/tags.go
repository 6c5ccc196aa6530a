package cache

import (
	"holdfast.dev/holdfast/internal/invariants"
	"holdfast.dev/holdfast/internal/seam"
)

// tags are the sets of pages that walks look for. DIRTY, WRITEBACK, FAILED,
// PINNED and HELD mirror the page's word, and agree with it whenever the page is not locked;
// while it is locked, DIRTY may stay set for a page whose word is no longer
// dirty, until WRITEBACK is set. So a walk for dirty pages that comes in the
// middle of a claim finds the page, and then waits for its lock.
type tags struct {
	dirty     *tree
	writeback *tree
	// failed has the dirty pages whose last write-out failed.
	failed *tree
	// towrite has the pages that were dirty when some sync began: it writes
	// these, and is done however many others become dirty meanwhile.
	towrite *tree
	// old has the pages that were dirty at the flusher's last tick.
	old *tree
	// pinned has the pages that are pinned for writing. Their holders may change
	// them at any moment, so to walks they are as good as dirty.
	pinned *tree
	// held has the pages that are dirty for their holder alone. No walk writes
	// them.
	held *tree
	// stored has the pages that were found to have been stored to unannounced and
	// are not yet dirty (async.go). It may also have pages that have left memory.
	stored *tree

	unstable unstable
}

// unstable has the pages that were written since the last good flush: what NFS
// calls unstable writes (RFC 1813, 3.3.7). A flush that fails makes them dirty
// again, so reclaim has to leave them.
type unstable struct {
	mu seam.Mutex
	// written collects; flushing is what the flush under way will make stable.
	// Guarded by mu, as is who may swap them: only a flush, of which there is
	// one at a time.
	written, flushing *tree
	// other says that something else than a page waits for a flush.
	other bool
	// busy says that a flush is under way, and what becomes of flushing is open.
	busy bool
}

func newTags(pages int64) *tags {
	t := &tags{dirty: newTree(pages), writeback: newTree(pages), failed: newTree(pages),
		towrite: newTree(pages), old: newTree(pages), pinned: newTree(pages), held: newTree(pages), stored: newTree(pages)}
	t.unstable.written, t.unstable.flushing = newTree(pages), newTree(pages)
	return t
}

// forget takes page n out of every tag. What was written of it waits for a flush all
// the same: a sync that has written it may have come that far. Requires the page locked.
func (t *tags) forget(n int64) {
	seam.Point("cache.forget", uint64(n))
	for _, s := range [...]*tree{t.dirty, t.failed, t.towrite, t.old, t.stored} {
		s.clear(n)
	}
	u := &t.unstable
	u.mu.Lock()
	defer u.mu.Unlock()
	u.other = u.other || u.written.has(n)
	u.written.clear(n)
	u.flushing.clear(n)
}

// check asserts that the tags that mirror the word do. Requires the page locked.
func (t *tags) check(n int64, w word) {
	if !invariants.Enabled {
		return
	}
	invariants.Check(t.dirty.has(n) == (w.dirty() != 0 && !w.has(held)), "cache: page %d: DIRTY tag against %v", n, w)
	invariants.Check(t.held.has(n) == w.has(held), "cache: page %d: HELD tag against %v", n, w)
	invariants.Check(t.pinned.has(n) == w.pinnedToWrite(), "cache: page %d: PINNED tag against %v", n, w)
	invariants.Check(t.writeback.has(n) == w.has(writeback), "cache: page %d: WRITEBACK tag against %v", n, w)
	invariants.Check(t.failed.has(n) == w.has(failed), "cache: page %d: FAILED tag against %v", n, w)
}

// isStable says whether nothing written from page n waits for a flush.
func (u *unstable) isStable(n int64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return !u.written.has(n) && !u.flushing.has(n)
}

// add notes that the pages [n, n+count) were written.
func (u *unstable) add(n, count int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range count {
		u.written.set(n + i)
	}
}

// note says that the backing changed in a way that concerns no page.
func (u *unstable) note() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.other = true
}

// any says whether anything waits for a flush.
func (u *unstable) any() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.busy || u.other || u.written.count.Load() != 0
}

// begin moves what was written to flushing: what the flush that follows covers.
// It returns whether that is more than pages.
func (u *unstable) begin() (other bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	invariants.Check(u.flushing.count.Load() == 0 && !u.busy, "cache: a flush began while another was under way")
	u.busy = true
	u.written, u.flushing = u.flushing, u.written
	other, u.other = u.other, false
	return other
}

// succeed empties flushing.
func (u *unstable) succeed() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.flushing.reset()
	u.busy = false
}

// fail ends a flush that failed, whose pages are dirty again. What else it was to
// cover waits for the next.
func (u *unstable) fail(other bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.other = u.other || other
	u.busy = false
}

// undo ends a flush that was not made: what it was to cover waits for the next.
func (u *unstable) undo(other bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.flushing.addTo(u.written, 0, int64(len(u.flushing.chunks))*chunkPages)
	u.flushing.reset()
	u.other = u.other || other
	u.busy = false
}

// reset empties the tree.
func (t *tree) reset() {
	for {
		n, ok := t.next(0, int64(len(t.chunks))*chunkPages)
		if !ok {
			return
		}
		t.clearWord(n/64, ^uint64(0))
	}
}
