package cache

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"holdfast.dev/holdfast/internal/invariants"
	"holdfast.dev/holdfast/internal/mutant"
	"holdfast.dev/holdfast/internal/seam"
)

const (
	// reclaimBatch is how many pages reclaim frees at a time: a hole punch
	// costs about the same for one frame as for 64 neighbours.
	reclaimBatch = 64
	// reclaimLook is how many entries reclaim looks at for each that it wants
	// before it concludes that pages have to be written out first.
	reclaimLook = 8
	// stallPause is how long a task that needs room waits when all pages are in
	// other tasks' hands, before it looks again.
	stallPause = time.Millisecond
	// stallLimit is how many such pauses pass without any page leaving before
	// the task gives up: half a minute, longer than a disk takes to answer.
	stallLimit = 30_000
)

// highWater is the number of pages above which the flusher reclaims.
func (c *Cache) highWater() int64 {
	pages := c.o.Budget / PageSize
	return pages - pages/16
}

// tryCharge takes room for n frames from the budget if there is as much.
func (c *Cache) tryCharge(n int64) bool {
	total := c.charged.Add(n)
	if total > c.highWater() {
		c.flusher.wake()
	}
	if total <= c.o.Budget/PageSize {
		return true
	}
	c.charged.Add(-n)
	return false
}

// charge takes room for n frames, and reclaims pages to get it. The caller may
// hold no page and no range.
func (c *Cache) charge(n int64) error {
	for stalls := 0; !c.tryCharge(n); {
		if c.makeRoom(n) > 0 {
			stalls = 0
			continue
		}
		if c.failing.Load() > 0 && stalls > 0 && c.allStuck() {
			return fmt.Errorf("cache: %w: %w", ErrNoRoom, c.lastError())
		}
		if stalls++; stalls > stallLimit {
			return fmt.Errorf("cache: %w: no page could leave for %v", ErrNoRoom, stallLimit*stallPause)
		}
		seam.NewAlarm().Sleep(stallPause)
	}
	return nil
}

// uncharge gives room for n frames back.
func (c *Cache) uncharge(n int64) {
	left := c.charged.Add(-n)
	invariants.Check(left >= 0, "cache: %d frames charged", left)
}

// makeRoom reclaims at least n pages if it can, or a few of them, and returns
// how many. Where nothing clean and stable is left it writes out and flushes.
func (c *Cache) makeRoom(n int64) (freed int64) {
	want := max(n, reclaimBatch)
	if freed = c.evict(want); freed > 0 {
		return freed
	}
	for _, m := range c.mappings() {
		m.writeNext(runPages)
		_ = m.stabilize() // its error is told to the watchers; the pages are dirty again
	}
	return c.evict(want)
}

// allStuck says whether every page that could leave is one whose write-out
// fails.
func (c *Cache) allStuck() bool {
	var stuck int64
	for _, m := range c.mappings() {
		stuck += m.tags.failed.count.Load()
	}
	return stuck+c.fillPages() >= c.charged.Load()
}

// evict drops up to want pages that are clean, stable and not in use, least
// valuable first, and returns how many.
func (c *Cache) evict(want int64) (freed int64) {
	victims := make([]page, 0, reclaimBatch)
	for looks := want*reclaimLook + 1; looks > 0 && freed < want; looks-- {
		e, fromMain, ok := c.queues.pop()
		if !ok {
			break
		}
		if pg, ok := c.pick(e, fromMain); ok {
			victims = append(victims, pg)
			freed++
		}
		if len(victims) == cap(victims) {
			freed -= c.dropClean(victims)
			victims = victims[:0]
		}
	}
	return freed - c.dropClean(victims)
}

// dropClean drops clean pages and returns how many stay, because they turned out
// to have been stored to. Requires the pages locked and drained; it unlocks them.
func (c *Cache) dropClean(pages []page) (kept int64) {
	sortPages(pages)
	for len(pages) > 0 {
		k, silent := 1, pages[0].load().has(amapped)
		for ; k < len(pages) && pages[k].m == pages[0].m && pages[k].n == pages[0].n+int64(k); k++ {
			silent = silent || pages[k].load().has(amapped)
		}
		rest := pages[:k]
		if m := pages[0].m; silent && m.async.attached.Load() > 0 {
			rest = m.rescue(rest)
		}
		kept += int64(k - len(rest))
		c.drop(rest)
		pages = pages[k:]
	}
	return kept
}

func sortPages(pages []page) {
	slices.SortFunc(pages, func(a, b page) int {
		return cmp.Or(cmp.Compare(a.m.id, b.m.id), cmp.Compare(a.n, b.n))
	})
}

// prune takes the entries of pages that were dropped out of the queues once
// these are twice as long as the budget can explain.
func (c *Cache) prune() {
	limit := 2 * c.o.Budget / PageSize
	length := int64(c.queues.len())
	for ; length > limit && !c.flusher.isStopped(); length-- {
		e, fromMain, ok := c.queues.pop()
		if !ok {
			return
		}
		pg, _ := e.m.find(e.n)
		if !pg.tryLock() {
			c.queues.putBack(e, fromMain)
			continue
		}
		if pg.load().has(present) {
			pg.unlock(0, 0)
			c.queues.putBack(e, fromMain)
			continue
		}
		pg.unqueue()
		pg.unlock(0, 0)
		e.m.leaves.release(e.n)
	}
}

// pick decides on the page of an entry that was popped: it leaves, and is
// returned locked, or it stays in one of the queues, or there was nothing to it.
func (c *Cache) pick(e entry, fromMain bool) (page, bool) {
	pg, ok := e.m.find(e.n)
	invariants.Check(ok, "cache: page %d is queued but has no leaf", e.n)
	chosen := word(0)
	if mutant.On(mutant.ReclaimUnchecked) {
		chosen = pg.load()
	}
	if !pg.tryLockDrained() {
		c.queues.putBack(e, fromMain)
		return page{}, false
	}
	w := pg.load()
	if mutant.On(mutant.ReclaimUnchecked) {
		w = chosen
	}
	if !w.has(present) {
		pg.unqueue()
		pg.unlock(0, 0)
		e.m.leaves.release(e.n)
		return page{}, false
	}
	// One use is what brought it here; the paper promotes at more than one.
	if fromMain && w.freq() > 0 || !fromMain && w.freq() > 1 {
		clear, set := freqMask, word(0)
		if fromMain {
			set = w&freqMask - freqOne
		}
		pg.unlock(clear, set)
		c.queues.putBack(e, true)
		return page{}, false
	}
	if w.dirty() != 0 || w.has(writeback|reserved|shadow|pinsMask) || !e.m.tags.unstable.isStable(e.n) {
		pg.unlock(0, 0)
		c.queues.putBack(e, fromMain)
		return page{}, false
	}
	pg.unqueue()
	if !fromMain {
		c.queues.remember(e)
	}
	return pg, true
}

// unqueue notes that no entry names the page. Requires the page locked.
func (p *page) unqueue() {
	p.change(queued, 0)
	p.m.leaves.at(p.n).queued.Add(-1)
}

// drop gives the frames of clean pages back. Requires the pages locked and
// drained; it unlocks them.
func (c *Cache) drop(pages []page) {
	sortPages(pages)
	for len(pages) > 0 {
		k := 1
		for k < len(pages) && pages[k].m == pages[0].m && pages[k].n == pages[0].n+int64(k) {
			k++
		}
		m, n := pages[0].m, pages[0].n
		m.punch(n, int64(k))
		for i := range pages[:k] {
			m.tags.forget(pages[i].n)
			pages[i].unlock(contentsMask, 0)
		}
		m.leaves.release(n)
		m.leaves.release(n + int64(k) - 1)
		c.uncharge(int64(k))
		c.counters.evicted.Add(int64(k))
		pages = pages[k:]
	}
}
