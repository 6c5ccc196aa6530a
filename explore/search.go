//go:build explore

package explore

import (
	"math/rand/v2"
	"time"
)

// Search says how long a scenario is searched.
type Search struct {
	Scenario *Scenario
	// Mutant is only put into schedules: whoever searches switches it on.
	Mutant string
	// Preemptions is the highest number with which everything is tried.
	Preemptions int
	// Most is how many schedules are tried at the most; 0 is no limit.
	Most int
	// Time ends the search when it has passed; 0 is no limit.
	Time time.Duration
	// Random is how many schedules are sampled after those; Seed chooses them.
	Random int
	Seed   uint64
}

// Result is what a search found, or how much it tried.
type Result struct {
	// Schedules is how many were tried, each once; Random, how many of them were
	// sampled. By preemptions, Tried is how many were tried, and Complete says for
	// how many preemptions that was all.
	Schedules, Random int
	Tried             []int
	Complete          int // -1: not even for none
	// Steps is how many steps were made, and Cuts how often the power failed.
	Steps, Cuts int
	Took        time.Duration
	// Finding is the first, nil if there was none, and Schedule makes it.
	Finding  *Finding
	Schedule Schedule
	// FoundAfter is how many schedules it took.
	FoundAfter int
}

// node is a schedule that was tried, and where others branch off from it.
type node struct {
	deviations []deviation
	used       bounds
	// points are the choices from number first on.
	first  int
	points []point
}

// searcher is a search under way.
type searcher struct {
	Search
	r        Result
	bound    bounds
	begun    time.Time
	parents  []node // tried in this round: what has one preemption more branches off
	kept     int    // points in parents
	forgot   bool   // there were too many to keep
	sampling rand.Source
}

// maxKept bounds the memory of a search: three bytes a point. What cannot be kept
// is not branched off from, and the next round is not complete.
const maxKept = 60_000_000

// Run searches.
func (s Search) Run() Result {
	q := &searcher{Search: s, begun: time.Now(), bound: bounds{Switch: -1, Data: -1, Cut: s.Scenario.Cuts, Fault: s.Scenario.Faults}}
	q.r.Complete = -1
	s.Scenario.prepare()
	q.rounds()
	if q.r.Finding == nil {
		q.sample()
	}
	q.r.Took = time.Since(q.begun)
	return q.r
}

// rounds tries what has no preemption, then what has one, and so on.
func (q *searcher) rounds() {
	seeds := []node{{}}
	for n := 0; n <= q.Preemptions; n++ {
		before := q.r.Schedules
		whole := q.round(n, seeds)
		q.r.Tried = append(q.r.Tried, q.r.Schedules-before)
		if !whole || q.r.Finding != nil {
			return
		}
		q.r.Complete = n
		if q.forgot {
			return
		}
		seeds, q.parents, q.kept = q.parents, nil, 0
		rng := rand.New(rand.NewPCG(q.Seed, uint64(n)))
		rng.Shuffle(len(seeds), func(i, j int) { seeds[i], seeds[j] = seeds[j], seeds[i] })
	}
}

// round tries all that have n preemptions, and says whether it came to the end.
func (q *searcher) round(n int, seeds []node) bool {
	if n == 0 {
		return q.descend(nil, bounds{}, true)
	}
	last := n == q.Preemptions
	for _, s := range seeds {
		for i, p := range s.points {
			if p.kind != Preempt {
				continue
			}
			for o := 1; o < int(p.n); o++ {
				used := s.used
				used[Preempt]++
				if !q.descend(with(s.deviations, s.first+i, o), used, !last) {
					return false
				}
			}
		}
	}
	return true
}

// descend tries a schedule and all that branch off from it without a preemption. It
// returns false if the search is over.
func (q *searcher) descend(d []deviation, used bounds, keep bool) bool {
	x := q.try(&plan{deviations: d}, used)
	if x.found != nil {
		q.r.Finding, q.r.FoundAfter = x.found, q.r.Schedules
		q.r.Schedule = Schedule{q.Scenario.Name, q.Mutant, d, x.print}
		return false
	}
	if q.spent() {
		return false
	}
	first := 0
	if len(d) > 0 {
		first = int(d[len(d)-1].at) + 1
	}
	points := append([]point(nil), x.taken[first:]...)
	if keep {
		q.keep(node{d, used, first, points})
	}
	for i, p := range points {
		if p.kind == Preempt || q.bound[p.kind] >= 0 && used[p.kind] == q.bound[p.kind] {
			continue
		}
		for o := 1; o < int(p.n); o++ {
			next := used
			next[p.kind]++
			if !q.descend(with(d, first+i, o), next, keep) {
				return false
			}
		}
	}
	return true
}

func (q *searcher) keep(n node) {
	if q.kept += len(n.points); q.kept > maxKept {
		q.forgot = true
		return
	}
	q.parents = append(q.parents, n)
}

// with returns the deviations and one more.
func with(d []deviation, at, took int) []deviation {
	return append(d[:len(d):len(d)], deviation{uint32(at), uint8(took)})
}

func (q *searcher) try(c chooser, used bounds) *Execution {
	x := execute(q.Scenario, c, nil)
	q.r.Schedules++
	q.r.Steps += x.steps
	q.r.Cuts += used[Cut]
	return x
}

func (q *searcher) spent() bool {
	return q.Most > 0 && q.r.Schedules >= q.Most || q.Time > 0 && time.Since(q.begun) > q.Time
}
