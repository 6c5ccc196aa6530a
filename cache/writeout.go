package cache

import (
	"errors"
	"fmt"
	"hash/crc32"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/eventlog"
	"holdfast.dev/holdfast/internal/invariants"
	"holdfast.dev/holdfast/internal/mutant"
	"holdfast.dev/holdfast/internal/seam"
)

// bytes are what the run writes.
func (r *run) bytes() []byte {
	if r.copied != nil {
		return r.copied.mem[r.skip*PageSize:][:r.count*PageSize]
	}
	return r.m.arena.frames(r.n, r.count)
}

// write writes the run to the backing.
func (r *run) write() error {
	mem, off := r.bytes(), r.n*PageSize
	var before uint32
	if invariants.Enabled {
		before = r.sum()
	}
	seam.Point("cache.write", uint64(r.n))
	r.m.c.counters.runsWritten.Add(1)
	r.m.c.counters.pagesWritten.Add(r.count)
	var err error
	switch {
	case r.sums != nil:
		err = device.WriteGuarded(r.m.backing, mem, off, r.sums[r.skip:][:r.count])
	case r.mask == 0:
		_, err = r.m.backing.WriteAt(mem, off)
	default:
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
func (r *run) sum() uint32 {
	mem := r.bytes()
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
func (r *run) complete(err error) {
	m := r.m
	if err != nil {
		m.writeFailed(r, err)
	} else if !r.stable {
		m.tags.unstable.add(r.n, r.count)
	}
	for i := range r.count {
		pg := m.page(r.n + i)
		pg.lock()
		r.completePage(&pg, err)
	}
	m.c.throttle.wake()
}

func (r *run) completePage(pg *page, err error) {
	m, t, bad := r.m, r.m.tags, err != nil && !mutant.On(mutant.FailedIsClean)
	clear, set := writeback|snapped, word(0)
	w := pg.load()
	invariants.Check(w.has(writeback), "cache: page %d completed twice: %v", pg.n, w)
	if w.has(shadow) {
		pg.drain()
		m.fold(pg)
		clear |= shadow
	}
	switch {
	case bad:
		mask := r.mask
		if mask == 0 {
			mask = allSectors
		}
		set |= dirtyBits(mask) | failed
		t.failed.set(pg.n)
		if errors.Is(err, errDamaged) {
			set |= m.judge(pg)
		}
	case w.has(failed):
		clear |= failed | damaged
		t.failed.clear(pg.n)
		m.countFailing(-1)
	}
	if !bad && r.copied != nil && r.changedUnannounced(pg, w) {
		set |= dirtyBits(w.valid())
	}
	if set.dirty() != 0 {
		t.dirty.set(pg.n)
	}
	if !(w&^clear | set).needsOwner() {
		clear |= m.release(pg)
	}
	t.writeback.clear(pg.n)
	pg.unlock(clear, set)
}

// release lets the owner of a page know that it is clean, and returns the bit to
// clear. Requires the page locked and reserved.
func (m *Mapping) release(pg *page) word {
	m.backing.Release(pg.n*PageSize, PageSize)
	m.releaseDirty()
	return reserved
}

// writeFailed notes the failure of a run whose pages are still under write-out.
// Watchers are told once of a page that cannot be written, not at each try; and
// once more if it turns out to be damaged.
func (m *Mapping) writeFailed(r *run, err error) {
	fresh, known := int64(0), failed
	if errors.Is(err, errDamaged) {
		known = damaged
	}
	untold := false
	for i := range r.count {
		pg := m.page(r.n + i)
		w := pg.load()
		if !w.has(failed) {
			fresh++
		}
		untold = untold || !w.has(known)
	}
	m.retry.postpone()
	m.countFailing(fresh)
	if !untold {
		return
	}
	err = fmt.Errorf("cache: %s: %w: %d bytes at %d stay in memory and are tried again: %w",
		m.o.Name, ErrWriteOut, r.count*PageSize, r.n*PageSize, err)
	m.errs.set(err)
	m.c.o.Log.Error("write-out failed", eventlog.Key, eventlog.WriteOutFailed, "volume", m.o.Name, "offset", r.n*PageSize, "bytes", r.count*PageSize, "err", err)
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

// idle says whether nothing is under way.
func (b *batch) idle() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.active == 0
}

func (b *batch) wait() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.active > 0 {
		b.ended.Wait()
	}
}
