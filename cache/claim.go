package cache

import (
	"holdfast.dev/holdfast/internal/invariants"
	"holdfast.dev/holdfast/internal/mutant"
	"holdfast.dev/holdfast/internal/seam"
)

// run is a claimed range of pages under write-out: whole pages, or one page of
// which only some sectors are known. What is written holds still: the frames,
// or a snapshot of them where others than the cache can change frames.
type run struct {
	m        *Mapping
	n, count int64
	// mask has the sectors to write of a single page that is not wholly valid.
	mask uint8
	// copied, if not nil, has the bytes to write, after those of skip pages.
	copied *buffer
	skip   int64
	// sums, if not nil, has the sum of each whole page as it is to be written.
	sums *sums
	// stable says that what was written needs no flush.
	stable bool
}

// walk says how writeOut treats what it meets.
type walk struct {
	// wait makes it wait for pages that are locked or under write-out, for a
	// sync may not pass them by. Without it they are passed by.
	wait bool
	// retry has pages tried whose last write-out failed.
	retry bool
	// flush says that a flush follows.
	flush bool
	// holding says that the walk has claimed what is not being written yet: then it
	// waits for nothing, for who has what it waits for may wait for that.
	holding bool
	// most is how many pages are written at the most; 0 is no limit.
	most int64
}

// writeOut writes the dirty pages of [first, end) that are in set, ascending,
// in runs, and returns when they are written or have failed: how many, and where
// the walk ended. The flusher, sync and reclaim differ only in the set and the
// walk that they give.
func (m *Mapping) writeOut(set *tree, first, end int64, how walk) (pages, stop int64) {
	b := newBatch(m.c.o.Manual)
	g := m.newGather(b, how)
	n := first
	for how.most == 0 || pages < how.most {
		next, ok := set.next(n, end)
		if !ok {
			n = end
			break
		}
		if mutant.On(mutant.ToWriteClearedEarly) {
			m.tags.towrite.clear(next)
			seam.Point("cache.look", uint64(next))
		}
		r := g.collect(set, next, end)
		n = next + max(1, r.count)
		if r.count > 0 {
			pages += r.count
			g.add(r)
		}
	}
	g.submit(true)
	b.wait()
	return pages, n
}

// collect claims page n and those after it that can be written with it. The run
// is empty if page n needs no writing, or cannot have it without waiting.
func (m *Mapping) collect(set *tree, n, end int64, how walk) run {
	r := run{m: m, n: n}
	if m.tags.pinned.any(n, n+1) || m.exposed.Load() {
		if r.copied = m.c.snapshots.get(!how.holding); r.copied == nil {
			return r
		}
	}
	pg := m.page(n)
	if !m.lockForWriteOut(&pg, how) {
		return r.drop()
	}
	w := pg.load()
	if !wantsWriteOut(w) {
		// Written out since the walk saw the tag, or the tag came late to a page
		// that had just been claimed.
		if set != m.tags.dirty {
			set.clear(n)
		}
		pg.unlock(0, 0)
		return r.drop()
	}
	if r.copied == nil && (w.pinnedToWrite() || !m.claimFrames()) {
		// Pinned or exposed since it was looked at: again, with a snapshot.
		pg.unlock(0, 0)
		return m.collect(set, n, end, how)
	}
	if w.valid() != allSectors || mutant.On(mutant.MappedNotMoved) {
		r.mask = w.dirty()
	}
	r.count = 1
	if r.mask == 0 {
		m.extend(&r, set, end, how)
	}
	r.claim()
	if r.copied == nil {
		m.exposing.Unlock()
	}
	return r
}

// claimFrames says whether a run may be claimed to be written from its frames.
// If so it leaves exposing locked, until the run is claimed: Attach, which waits
// for such write-outs, then finds it under WRITEBACK.
func (m *Mapping) claimFrames() bool {
	m.exposing.Lock()
	if m.exposed.Load() {
		m.exposing.Unlock()
		return false
	}
	return true
}

// wantsWriteOut says whether a page that a walk has found is to be written.
func wantsWriteOut(w word) bool { return w.dirty() != 0 && !w.has(held) || w.pinnedToWrite() }

// extend adds locked pages to a run that has one. It waits for none, so that the
// pages that it holds are soon free again.
func (m *Mapping) extend(r *run, set *tree, end int64, how walk) {
	limit := min(m.c.fillPages(), end-r.n)
	if r.copied != nil {
		limit = min(limit, bufferPages)
	}
	for ; r.count < limit && set.has(r.n+r.count); r.count++ {
		pg := m.page(r.n + r.count)
		if !m.lockForWriteOut(&pg, walk{retry: how.retry}) {
			return
		}
		w := pg.load()
		if !wantsWriteOut(w) || w.valid() != allSectors || r.copied == nil && w.pinnedToWrite() {
			pg.unlock(0, 0)
			return
		}
	}
}

// lockForWriteOut locks a page that is not under write-out.
func (m *Mapping) lockForWriteOut(pg *page, how walk) bool {
	for {
		if how.wait {
			pg.lock()
		} else if !pg.tryLock() {
			return false
		}
		w := pg.load()
		if !w.has(writeback) && (how.retry || !w.has(failed)) {
			return true
		}
		if mutant.On(mutant.ShadowWrittenEarly) && w.has(shadow) {
			m.writeShadow(pg)
			return false
		}
		pg.unlock(0, 0)
		if !how.wait {
			return false
		}
		pg.waitWriteback()
	}
}

// claim turns the dirty pages of a run into ones under write-out and unlocks
// them. First write access is taken away where they are mapped, with one call
// for the run: what was stored until then is what is written, or copied. Requires
// the pages locked, dirty or pinned, and not under write-out.
func (r *run) claim() {
	if mutant.On(mutant.GuardBeforeProtect) {
		r.sumFrames()
	}
	r.protect()
	if r.copied != nil {
		copy(r.copied.mem[:], r.m.arena.frames(r.n, r.count))
	}
	if !mutant.On(mutant.GuardBeforeProtect) {
		r.prepareSums()
	}
	for i := range r.count {
		pg := r.m.page(r.n + i)
		set := writeback | r.takeSum(&pg, i)
		if r.copied != nil {
			set |= snapped
		}
		pg.claim(set)
	}
}

// claim changes one page and unlocks it. The word loses its dirty bits first
// while the DIRTY tag stays; WRITEBACK is set; only then does DIRTY go, and with
// it what asked for the write-out. A walk that looks for the page in between
// finds a tag, and waits for the lock.
func (p *page) claim(set word) {
	t := p.m.tags
	clear := dirtyMask
	if !p.load().pinnedToWrite() {
		clear |= wmapped
	}
	p.change(clear, 0)
	if mutant.On(mutant.TagClearedAtClaim) {
		t.dirty.clear(p.n)
	}
	seam.Point("cache.claim", uint64(p.n))
	t.writeback.set(p.n)
	p.change(0, set)
	t.dirty.clear(p.n)
	t.towrite.clear(p.n)
	t.old.clear(p.n)
	p.unlock(0, 0)
}

// protect takes write access to the run away from other address spaces, except to
// pages that are pinned to write: those count as dirty until the pin ends, whoever
// stores to them, and stay mapped writable.
func (r *run) protect() {
	mapped, silent, first := false, false, r.n
	flush := func(end int64) {
		if mapped && !mutant.On(mutant.MappedNotMoved) {
			r.m.protect(first, end-first)
		}
		mapped, first = false, end
	}
	for i := range r.count {
		pg := r.m.page(r.n + i)
		w := pg.load()
		invariants.Check(!w.has(wmapped|amapped) || r.copied != nil, "cache: page %d is mapped writable and has no snapshot", pg.n)
		silent = silent || w.has(amapped)
		if w.pinnedToWrite() {
			flush(pg.n)
			first = pg.n + 1
			continue
		}
		mapped = mapped || w.has(wmapped)
	}
	flush(r.n + r.count)
	if silent && r.m.async.attached.Load() > 0 {
		r.collect()
	}
}

// drop gives an empty run's snapshot back.
func (r *run) drop() run {
	r.giveBack()
	return run{}
}

// giveBack returns what the run has borrowed.
func (r *run) giveBack() {
	r.m.c.snapshots.put(r.copied)
	if r.sums != nil {
		sumsPool.Put(r.sums)
	}
}
