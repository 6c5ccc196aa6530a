package cache

import (
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/invariants"
	"holdfast.dev/holdfast/internal/seam"
)

const (
	// gatherRun is how long a run may be that is written together with others, in
	// pages: a longer one costs a disk little more than its own bytes.
	gatherRun = 4
	// gatherPages is how many pages are written together at the most: a MiB, past
	// which a disk gains little. They are under write-out from when they are gathered.
	gatherPages = 256
	// scatterPages is the same for those that no flush follows, whose writers nobody
	// holds up: few, for who writes to one of them again waits for all. Several such
	// calls are under way at once.
	scatterPages = 32
)

// gather is what a walk has claimed and hands to the backing to be written
// together, which may take fewer writes, or turns, than each alone.
//
// While it has any the walk waits for nothing: neither for snapshots, which others
// that gather may have all, nor for a page, whose holder may take long while those
// gathered here are waited for.
type gather struct {
	m     *Mapping
	b     *batch
	how   walk
	on    bool // the backing takes runs together
	runs  []run
	pages int64
}

func (m *Mapping) newGather(b *batch, how walk) *gather {
	_, on := m.backing.(device.Scattered)
	return &gather{m: m, b: b, how: how, on: on}
}

// collect claims page n and those after it that can be written with it.
func (g *gather) collect(set *tree, n, end int64) run {
	if len(g.runs) > 0 {
		how := g.how
		how.wait, how.holding = false, true
		if r := g.m.collect(set, n, end, how); r.count > 0 {
			return r
		}
		g.submit(false)
	}
	return g.m.collect(set, n, end, g.how)
}

// add has a claimed run written, now or with others.
func (g *gather) add(r run) {
	if !g.on || r.count > gatherRun {
		g.b.run(r.finish)
		return
	}
	g.runs = append(g.runs, r)
	g.pages += r.count
	if g.pages >= gatherPages || !g.how.flush && g.pages >= scatterPages {
		g.submit(false)
	}
}

// submit writes what was gathered: where a flush follows what the backing would
// rather take as a batch, and the rest scattered. The last is written by the caller.
func (g *gather) submit(last bool) {
	runs := g.runs
	g.runs, g.pages = nil, 0
	if b, ok := g.m.backing.(device.Batched); ok && g.how.flush && len(runs) > 0 {
		runs = runs[g.m.writeBatch(b, runs, last && g.b.idle()):]
	}
	for len(runs) > 0 {
		some := runs[:min(scatterPages, len(runs))]
		runs = runs[len(some):]
		if last && len(runs) == 0 {
			finishTogether(some)
		} else {
			g.b.run(func() { finishTogether(some) })
		}
	}
}

// writeBatch offers runs to the backing, and completes those that it has written,
// from the first; it returns how many. The others, and one that failed, come again.
//
// With flush the flush that follows is made in the same turn, if nobody else flushes.
// This task waits for nobody here, for who flushes may wait for what it has claimed.
func (m *Mapping) writeBatch(b device.Batched, runs []run, flush bool) (n int) {
	t := join(runs)
	done, synced := 0, false
	if flush {
		flush, _ = m.flushes.Try(func() error {
			done, synced = m.syncBatch(b, t.parts)
			return nil
		})
	}
	if !flush {
		done, _ = b.WriteBatch(t.parts)
	}
	t.still()
	for n < len(runs) && t.ends[n] <= done {
		runs[n].stable = synced
		n++
	}
	completeAll(runs[:n])
	return n
}

// syncBatch is flush, of what was written before it and of parts that are not yet,
// if the backing does both at once. It returns how many it has written in any case,
// and whether they and all before are stable; if not nothing has been flushed, and
// who wants it flushes as ever.
func (m *Mapping) syncBatch(b device.Batched, parts []device.Part) (done int, synced bool) {
	u := &m.tags.unstable
	other := u.begin()
	seam.Point("cache.flush", m.id)
	done, synced, _ = b.SyncBatch(parts)
	if synced {
		u.succeed()
		m.faults.succeed()
	} else {
		u.undo(other)
	}
	return done, synced
}

// finishTogether is finish for several runs. If they cannot be written together
// each is by itself, which also tells what is wrong with which page.
func finishTogether(runs []run) {
	if len(runs) > 1 {
		t := join(runs)
		err := device.WriteScattered(runs[0].m.backing, t.parts)
		t.still()
		if err == nil {
			completeAll(runs)
			return
		}
	}
	for i := range runs {
		runs[i].finish()
	}
}

// completeAll completes runs that were written together.
func completeAll(runs []run) {
	for i := range runs {
		r := &runs[i]
		r.m.c.counters.runsWritten.Add(1)
		r.m.c.counters.pagesWritten.Add(r.count)
		r.complete(nil)
		r.giveBack()
	}
}

// joint is several runs as the backing is handed them.
type joint struct {
	runs   []run
	parts  []device.Part
	ends   []int // of each run, in parts
	before []uint32
}

func join(runs []run) *joint {
	t := &joint{runs: runs, parts: make([]device.Part, 0, len(runs)), ends: make([]int, len(runs))}
	for i := range runs {
		if invariants.Enabled {
			t.before = append(t.before, runs[i].sum())
		}
		t.parts = runs[i].appendParts(t.parts)
		t.ends[i] = len(t.parts)
	}
	seam.Point("cache.write", uint64(runs[0].n))
	return t
}

// still checks that what is written has not changed.
func (t *joint) still() {
	if !invariants.Enabled {
		return
	}
	for i := range t.runs {
		r := &t.runs[i]
		invariants.Check(t.before[i] == r.sum(), "cache: %d pages at %d changed while they were written", r.count, r.n*PageSize)
	}
}

// appendParts adds what the run writes.
func (r *run) appendParts(parts []device.Part) []device.Part {
	mem, off := r.bytes(), r.n*PageSize
	if r.mask == 0 {
		p := device.Part{P: mem, Off: off}
		if r.sums != nil {
			p.Sums = r.sums[r.skip:][:r.count]
		}
		return append(parts, p)
	}
	eachSectorRun(r.mask, func(lo, hi int) bool {
		parts = append(parts, device.Part{P: mem[lo:hi], Off: off + int64(lo)})
		return true
	})
	return parts
}
