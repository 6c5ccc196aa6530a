package cache

import (
	"fmt"
	"hash/crc32"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/invariants"
	"holdfast.dev/holdfast/internal/seam"
)

// run is a claimed range of pages: they are under write-out, and hold still
// until complete. It is whole pages, or one page of which only some sectors are
// known.
type run struct {
	m        *Mapping
	n, count int64
	// mask has the sectors to write of a single page that is not wholly valid.
	mask uint8
}

// walk says how writeOut treats what it meets.
type walk struct {
	// wait makes it wait for pages that are locked or under write-out, for a
	// sync may not pass them by. Without it they are passed by.
	wait bool
	// retry has pages tried whose last write-out failed.
	retry bool
	// most is how many pages are written at the most; 0 is no limit.
	most int64
}

// writeOut writes the dirty pages of [first, end) that are in set, ascending,
// in runs, and returns when they are written or have failed: how many, and where
// the walk ended. The flusher, sync and reclaim differ only in the set and the
// walk that they give.
func (m *Mapping) writeOut(set *tree, first, end int64, how walk) (pages, stop int64) {
	b := newBatch(m.c.o.Manual)
	n := first
	for how.most == 0 || pages < how.most {
		next, ok := set.next(n, end)
		if !ok {
			n = end
			break
		}
		r := m.collect(set, next, end, how)
		n = next + max(1, r.count)
		if r.count > 0 {
			pages += r.count
			b.run(func() { r.complete(r.write()) })
		}
	}
	b.wait()
	return pages, n
}

// collect claims page n and those after it that can be written with it. The run
// is empty if page n needs no writing, or cannot have it without waiting.
func (m *Mapping) collect(set *tree, n, end int64, how walk) run {
	pg := m.page(n)
	if !m.lockForWriteOut(&pg, how) {
		return run{}
	}
	w := pg.load()
	if w.dirty() == 0 {
		// Written out since the walk saw the tag, or the tag came late to a page
		// that had just been claimed.
		if set != m.tags.dirty {
			set.clear(n)
		}
		pg.unlock(0, 0)
		return run{}
	}
	r := run{m: m, n: n, count: 1}
	if w.valid() != allSectors {
		r.mask = w.dirty()
	}
	pg.claim()
	for r.mask == 0 && r.count < m.c.fillPages() && n+r.count < end && set.has(n+r.count) {
		next := m.page(n + r.count)
		if !m.lockForWriteOut(&next, walk{retry: how.retry}) {
			break
		}
		if w := next.load(); w.dirty() == 0 || w.valid() != allSectors {
			next.unlock(0, 0)
			break
		}
		next.claim()
		r.count++
	}
	return r
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
		pg.unlock(0, 0)
		if !how.wait {
			return false
		}
		pg.waitWriteback()
	}
}

// claim turns a dirty page into one under write-out and unlocks it. The word
// loses its dirty bits first while the DIRTY tag stays; WRITEBACK is set; only
// then does DIRTY go, and with it what asked for the write-out. A walk that
// looks for the page in between finds a tag, and waits for the lock. Requires
// the page locked, dirty, and not under write-out.
func (p *page) claim() {
	t := p.m.tags
	p.change(dirtyMask, 0)
	seam.Point("cache.claim", uint64(p.n))
	t.writeback.set(p.n)
	p.change(0, writeback)
	t.dirty.clear(p.n)
	t.towrite.clear(p.n)
	t.old.clear(p.n)
	p.unlock(0, 0)
}

// write writes the run to the backing.
func (r run) write() error {
	mem := r.m.arena.frames(r.n, r.count)
	off := r.n * PageSize
	var before uint32
	if invariants.Enabled {
		before = r.sum()
	}
	seam.Point("cache.write", uint64(r.n))
	r.m.c.counters.runsWritten.Add(1)
	r.m.c.counters.pagesWritten.Add(r.count)
	var err error
	if r.mask == 0 {
		_, err = r.m.backing.WriteAt(mem, off)
	} else {
		eachSectorRun(r.mask, func(lo, hi int) bool {
			_, err = r.m.backing.WriteAt(mem[lo:hi], off+int64(lo))
			return err == nil
		})
	}
	if invariants.Enabled {
		invariants.Check(before == r.sum(), "cache: %d pages at %d changed while they were written", r.count, off)
	}
	return err
}

// sum is a checksum of what the run writes.
func (r run) sum() uint32 {
	mem := r.m.arena.frames(r.n, r.count)
	if r.mask == 0 {
		return crc32.ChecksumIEEE(mem)
	}
	var s uint32
	eachSectorRun(r.mask, func(lo, hi int) bool {
		s = crc32.Update(s, crc32.IEEETable, mem[lo:hi])
		return true
	})
	return s
}

// eachSectorRun calls f for the byte ranges of a page whose sectors are in mask.
func eachSectorRun(mask uint8, f func(lo, hi int) bool) {
	for s := 0; s < sectorsPerPage; s++ {
		e := s
		for e < sectorsPerPage && mask&(1<<e) != 0 {
			e++
		}
		if e > s && !f(s*device.SectorSize, e*device.SectorSize) {
			return
		}
		s = max(s, e-1)
	}
}

// complete ends the write-out of the run's pages. Where the write failed they
// are dirty again, as if they had never been claimed. What a sync must not miss
// is noted before WRITEBACK goes: that a flush is needed, or the error.
func (r run) complete(err error) {
	m := r.m
	if err != nil {
		m.writeFailed(r, err)
	} else {
		m.tags.unstable.add(r.n, r.count)
	}
	for i := range r.count {
		pg := m.page(r.n + i)
		pg.lock()
		r.completePage(&pg, err != nil)
	}
	m.c.throttle.wake()
}

func (r run) completePage(pg *page, bad bool) {
	m, t := r.m, r.m.tags
	clear, set := writeback, word(0)
	w := pg.load()
	invariants.Check(w.has(writeback), "cache: page %d completed twice: %v", pg.n, w)
	if w.has(shadow) {
		pg.drain()
		m.fold(pg)
		clear |= shadow
	}
	if bad {
		mask := r.mask
		if mask == 0 {
			mask = allSectors
		}
		set |= dirtyBits(mask) | failed
		t.dirty.set(pg.n)
		t.failed.set(pg.n)
	} else if w.has(failed) {
		clear |= failed
		t.failed.clear(pg.n)
		m.countFailing(-1)
	}
	if w.dirty()|set.dirty() == 0 {
		m.backing.Release(pg.n*PageSize, PageSize)
		clear |= reserved
		m.releaseDirty()
	}
	t.writeback.clear(pg.n)
	pg.unlock(clear, set)
}

// writeFailed notes the failure of a run whose pages are still under write-out.
// Watchers are told once of a page that cannot be written, not at each try.
func (m *Mapping) writeFailed(r run, err error) {
	fresh := int64(0)
	for i := range r.count {
		if pg := m.page(r.n + i); !pg.load().has(failed) {
			fresh++
		}
	}
	m.retry.postpone()
	if fresh == 0 {
		return
	}
	m.countFailing(fresh)
	err = fmt.Errorf("cache: %s: %w: %d bytes at %d stay in memory and are tried again: %w",
		m.o.Name, ErrWriteOut, r.count*PageSize, r.n*PageSize, err)
	m.errs.set(err)
	m.c.o.Log.Error("write-out failed", "volume", m.o.Name, "offset", r.n*PageSize, "bytes", r.count*PageSize, "err", err)
}

// batch runs write-outs side by side, up to batchDepth of them.
type batch struct {
	inline bool
	mu     seam.Mutex
	ended  *seam.Cond
	active int // guarded by mu
}

// batchDepth keeps a disk's queue filled without hiding from it what is urgent.
const batchDepth = 8

func newBatch(inline bool) *batch {
	b := &batch{inline: inline}
	b.ended = seam.NewCond(&b.mu)
	return b
}

func (b *batch) run(f func()) {
	if b.inline {
		f()
		return
	}
	b.mu.Lock()
	for b.active == batchDepth {
		b.ended.Wait()
	}
	b.active++
	b.mu.Unlock()
	seam.Go("write-out", func() {
		f()
		b.mu.Lock()
		b.active--
		b.ended.Broadcast()
		b.mu.Unlock()
	})
}

func (b *batch) wait() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.active > 0 {
		b.ended.Wait()
	}
}
