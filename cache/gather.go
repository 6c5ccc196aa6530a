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
)

// gather is what a sync has claimed and offers to the backing to be written
// together, which may take fewer writes than each alone.
//
// While it has any the walk waits for nothing: neither for snapshots, which others
// that gather may have all, nor for a page, whose holder may take long while those
// gathered here are waited for.
type gather struct {
	m     *Mapping
	b     *batch
	how   walk
	to    device.Batched // nil if nothing is gathered
	runs  []run
	pages int64
}

func (m *Mapping) newGather(b *batch, how walk) *gather {
	g := &gather{m: m, b: b, how: how}
	if how.gather {
		g.to, _ = m.backing.(device.Batched)
	}
	return g
}

// collect claims page n and those after it that can be written with it.
func (g *gather) collect(set *tree, n, end int64) run {
	if len(g.runs) > 0 {
		how := g.how
		how.wait, how.holding = false, true
		if r := g.m.collect(set, n, end, how); r.count > 0 {
			return r
		}
		g.submit()
	}
	return g.m.collect(set, n, end, g.how)
}

// add has a claimed run written, now or with others.
func (g *gather) add(r run) {
	if g.to == nil || r.count > gatherRun {
		g.b.run(r.finish)
		return
	}
	g.runs = append(g.runs, r)
	g.pages += r.count
	if g.pages >= gatherPages {
		g.submit()
	}
}

// submit writes what was gathered. What the backing does not take, or fails in,
// is written run by run, which also tells what is wrong with which page.
func (g *gather) submit() {
	if len(g.runs) == 0 {
		return
	}
	n := g.writeTogether()
	for i := range g.runs[:n] {
		g.runs[i].complete(nil)
		g.runs[i].giveBack()
	}
	for _, r := range g.runs[n:] {
		g.b.run(r.finish)
	}
	g.runs, g.pages = g.runs[:0], 0
}

// writeTogether offers the runs to the backing and returns how many it has
// written, from the first.
func (g *gather) writeTogether() (written int) {
	var parts []device.Part
	var before []uint32
	ends := make([]int, len(g.runs)) // in parts
	for i := range g.runs {
		r := &g.runs[i]
		if invariants.Enabled {
			before = append(before, r.sum())
		}
		parts = r.appendParts(parts)
		ends[i] = len(parts)
	}
	seam.Point("cache.write", uint64(g.runs[0].n))
	done, _ := g.to.WriteBatch(parts) // the error comes again, with its page
	for i := range g.runs {
		r := &g.runs[i]
		if invariants.Enabled {
			invariants.Check(before[i] == r.sum(), "cache: %d pages at %d changed while they were written", r.count, r.n*PageSize)
		}
		if ends[i] <= done {
			written = i + 1
			g.m.c.counters.runsWritten.Add(1)
			g.m.c.counters.pagesWritten.Add(r.count)
		}
	}
	return written
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
