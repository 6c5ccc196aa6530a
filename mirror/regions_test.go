package mirror

import (
	"fmt"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
	"testing"

	"pgregory.net/rapid"
)

// TestRegionsAgainstAModel drives the table of regions with random calls and
// compares it with one that keeps the truth in the plainest form.
func TestRegionsAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const n = 5
		g := ondisk.NewGeometry(n*testRegion, testRegion, guard.None, 0)
		rs := newRegions(&g)
		type truth struct {
			inflight  int
			unflushed bool // written since the last flush
			candidate bool // marked and not written since
			dirty     bool // wanted
			awaits    bool
		}
		var want [n]truth
		var open []run
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			first := rapid.IntRange(0, n-1).Draw(t, "first")
			last := rapid.IntRange(first, n-1).Draw(t, "last")
			switch rapid.IntRange(0, 6).Draw(t, "call") {
			case 0, 1:
				rs.begin(first, last)
				open = append(open, run{first, last})
				for i := first; i <= last; i++ {
					want[i].inflight++
					want[i].dirty, want[i].candidate, want[i].unflushed = true, false, true
				}
			case 2, 3:
				if len(open) == 0 {
					continue
				}
				k := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				rs.end(open[k].first, open[k].last)
				for i := open[k].first; i <= open[k].last; i++ {
					want[i].inflight--
				}
				open = append(open[:k], open[k+1:]...)
			case 4:
				rs.mark()
				for i := range want {
					w := &want[i]
					w.candidate = w.candidate || w.dirty && w.inflight == 0 && !w.awaits
				}
			case 5:
				rs.flushGood.Store(rs.flushBegun.Add(1))
				for i := range want {
					want[i].unflushed = want[i].inflight > 0
				}
			case 6:
				full := rapid.Bool().Draw(t, "full")
				rs.settle([]run{{first, last}}, func() bool { return full })
				for i := first; i <= last; i++ {
					w := &want[i]
					if w.candidate && full && !w.unflushed {
						w.dirty = false
					}
					w.candidate = false
				}
			}
			for i, w := range want {
				state := Clean
				switch {
				case w.inflight > 0:
					state = Dirty
				case w.candidate:
					state = CleanCandidate
				case w.dirty:
					state = MaybeDirty
				}
				if rs.tab[i].state != state || hasBit(rs.want, i) != w.dirty {
					t.Fatalf("region %d is %v, bit %v; want %v, %v", i, rs.tab[i].state, hasBit(rs.want, i), state, w.dirty)
				}
			}
			c := rs.count()
			if c.Clean+c.Dirty+c.MaybeDirty+c.CleanCandidate != n || c.Total != n {
				t.Fatalf("counts are %+v", c)
			}
		}
	})
}

// A region that is awaiting resync is never made a candidate, nor clean.
func TestAwaitingStaysDirty(t *testing.T) {
	g := ondisk.NewGeometry(testData, testRegion, guard.None, 0)
	rs := newRegions(&g)
	rs.begin(2, 4)
	rs.end(2, 4)
	rs.flushGood.Store(rs.flushBegun.Add(1))
	runs := rs.mark()
	rs.spoil(3, 3, 0)
	if got := fmt.Sprint(runs, rs.mark()); got != "[{2 4}] [{2 2} {4 4}]" {
		t.Errorf("candidates before and after: %v", got)
	}
	rs.settle(runs, func() bool { return true })
	if !hasBit(rs.want, 3) || hasBit(rs.want, 2) || hasBit(rs.want, 4) {
		t.Errorf("bits are %b, want only that of region 3", rs.want[0])
	}
}
