//go:build explore

package explore

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Search says how a scenario is searched.
type Search struct {
	Scenario *Scenario
	// Mutant is only put into schedules: whoever searches switches it on.
	Mutant string
	// Preemptions is up to how many of them everything is tried.
	Preemptions int
	// More is how many executions are made after that: three of four with more preemptions, as
	// far as they lead to states that were not met before, the others sampled, by Seed.
	More int
	Seed uint64
	// Time ends the search when it has passed; 0 is no limit.
	Time time.Duration
}

// Result is what a search found, or how much it tried.
type Result struct {
	Scenario, Mutant string
	// Schedules is how many were tried, each counted once. Tried is how many there are
	// by preemptions, as far as all of those were tried; Deeper is how many were tried
	// with more, Sampled how many at random.
	Schedules, Deeper, Sampled int
	Tried                      []int
	// States is how many different states were met at choices, and Exhausted says that
	// there are no more, with however many preemptions.
	States    int
	Exhausted bool
	// Unlike is how often an execution did not go on as another had from the same
	// state: some step does not name what it is about.
	Unlike int
	// Steps is how many steps were made, and Cuts how often the power failed.
	Steps, Cuts int
	Took        time.Duration
	// Unfinished says that the time was up, or memory, before the end.
	Unfinished bool
	// Finding is the first, nil if there was none; FoundAfter is how many schedules it
	// took. Schedule, as short as it could be made, finds it again, and Story tells it.
	Finding    *Finding
	FoundAfter int
	Schedule   string
	Story      string
}

// node is a schedule that was tried, and where others branch off from it.
type node struct {
	deviations []deviation
	used       bounds
	// points are the choices from number first on; those before number fresh of them
	// were in states that had not been met before.
	first  int
	points []point
	fresh  int
}

// searcher is a search under way.
type searcher struct {
	Search
	r       Result
	bound   bounds
	begun   time.Time
	parents []node            // tried in this round: what has one preemption more branches off
	kept    int               // points in parents
	reduce  bool              // nothing branches off from a state that was met before
	met     map[uint64]uint64 // states, and what was done until the end where it came by default
	end     int               // how many schedules may be tried in this phase; 0 is no limit
	found   Schedule
}

// maxKept bounds the memory of a search: 16 bytes a point.
const maxKept = 20_000_000

// Run searches.
func (s Search) Run() Result {
	s.Preemptions = max(s.Preemptions-s.Scenario.Less, 0)
	q := &searcher{Search: s, begun: time.Now(), met: map[uint64]uint64{}, bound: bounds{Switch: -1, Data: -1, Cut: s.Scenario.Cuts, Fault: s.Scenario.Faults}}
	q.r.Scenario, q.r.Mutant = s.Scenario.Name, s.Mutant
	s.Scenario.prepare()
	if q.rounds() && q.More > 0 {
		before := q.r.Schedules
		q.end = before + q.More*3/4
		if q.deeper(); q.r.Finding == nil {
			q.r.Deeper = q.r.Schedules - before
			q.end = 0
			q.sample()
		}
	}
	if q.r.Finding != nil {
		q.tell()
	}
	q.r.States = len(q.met)
	q.r.Took = time.Since(q.begun)
	return q.r
}

// rounds tries what has no preemption, then what has one, and so on, and says whether
// it has tried all of it.
func (q *searcher) rounds() bool {
	for n := range q.Preemptions + 1 {
		before := q.r.Schedules
		parents := q.parents
		q.parents, q.kept = nil, 0
		if !q.round(n, parents) {
			q.r.Unfinished = q.r.Finding == nil
			return false
		}
		q.r.Tried = append(q.r.Tried, q.r.Schedules-before)
	}
	return true
}

// round tries all that have n preemptions, and says whether it came to the end.
func (q *searcher) round(n int, parents []node) bool {
	if n == 0 {
		return q.descend(nil, bounds{})
	}
	for i := range parents {
		for o := range parents[i].branches() {
			if d, used := parents[i].branch(o); !q.descend(d, used) {
				return false
			}
		}
	}
	return true
}

// deeper tries what has more preemptions than all that was tried, as far as it leads to
// states that were not met, until there is nothing of it left. Where nothing branches
// off from states that were met the end comes sooner than where everything does: by
// a factor of some hundred with two preemptions, and more with each.
func (q *searcher) deeper() {
	q.reduce = true
	for len(q.parents) > 0 {
		parents := q.parents
		q.parents, q.kept = nil, 0
		rng := rand.New(rand.NewPCG(q.Seed, 1))
		rng.Shuffle(len(parents), func(i, j int) { parents[i], parents[j] = parents[j], parents[i] })
		for i := range parents {
			parents[i].points = parents[i].points[:parents[i].fresh]
		}
		if !q.round(len(q.r.Tried), parents) {
			return
		}
	}
	q.r.Exhausted = !q.r.Unfinished
}

// branches is how many schedules with one preemption more branch off.
func (n *node) branches() (count int) {
	for _, p := range n.points {
		if p.kind == Preempt {
			count += int(p.n) - 1
		}
	}
	return count
}

// branch returns one of them.
func (n *node) branch(o int) ([]deviation, bounds) {
	used := n.used
	used[Preempt]++
	for i, p := range n.points {
		if p.kind != Preempt {
			continue
		}
		if o < int(p.n)-1 {
			return with(n.deviations, n.first+i, o+1), used
		}
		o -= int(p.n) - 1
	}
	panic("explore: no such branch")
}

// descend tries a schedule and all that branch off from it without a preemption. It
// returns false if the search, or this part of it, is over.
func (q *searcher) descend(d []deviation, used bounds) bool {
	x := q.try(&plan{deviations: d}, used, func() []deviation { return d })
	if x.found != nil || q.spent() {
		return false
	}
	first := 0
	if len(d) > 0 {
		first = int(d[len(d)-1].at) + 1
	}
	points := slices.Clone(x.taken[first:])
	fresh := q.meet(points, used, x.deeds())
	q.keep(node{d, used, first, points, fresh})
	if q.reduce {
		points = points[:fresh]
	}
	for i, p := range points {
		if p.kind == Preempt || q.bound[p.kind] >= 0 && used[p.kind] == q.bound[p.kind] {
			continue
		}
		for o := 1; o < int(p.n); o++ {
			next := used
			next[p.kind]++
			if !q.descend(with(d, first+i, o), next) {
				return false
			}
		}
	}
	return true
}

// meet notes the states at the choices of an execution that went on by default to its
// end, in which deeds were done, and returns how many of them come before the first that was met: what follows
// a state that was met was met too.
func (q *searcher) meet(points []point, used bounds, deeds uint64) (fresh int) {
	fresh = len(points)
	for i, p := range points {
		state := mix(mix(p.past, uint64(used[Cut])), uint64(used[Fault]))
		was, again := q.met[state]
		switch {
		case !again:
			q.met[state] = deeds
		case was != deeds:
			q.r.Unlike++
			fallthrough
		default:
			fresh = min(fresh, i)
		}
	}
	return fresh
}

// keep has what has a preemption more branch off later. What there is no memory for
// is not tried, and the search says that it is unfinished.
func (q *searcher) keep(n node) {
	if q.kept += len(n.points); q.kept > maxKept {
		q.r.Unfinished = true
		return
	}
	q.parents = append(q.parents, n)
}

// with returns the deviations and one more.
func with(d []deviation, at, took int) []deviation {
	return append(d[:len(d):len(d)], deviation{uint32(at), uint8(took)})
}

func (q *searcher) try(c chooser, used bounds, made func() []deviation) *Execution {
	x := execute(q.Scenario, c, nil)
	q.r.Schedules++
	q.r.Steps += x.steps
	q.r.Cuts += used[Cut]
	if x.found != nil {
		q.r.Finding, q.r.FoundAfter = x.found, q.r.Schedules
		q.found = Schedule{q.Scenario.Name, q.Mutant, made(), x.print}
	}
	return x
}

func (q *searcher) spent() bool {
	late := q.Time > 0 && time.Since(q.begun) > q.Time
	q.r.Unfinished = q.r.Unfinished || late
	return late || q.end > 0 && q.r.Schedules >= q.end
}

// tell makes the schedule that found something short, and has it told.
func (q *searcher) tell() {
	s := shrink(q.Scenario, q.found)
	q.r.Schedule = s.String()
	_, story, err := Replay(q.Scenario, s)
	if q.r.Story = story.String(); err != nil {
		q.r.Story += fmt.Sprintf("\n%v: something but the schedule decides what happens\n", err)
	}
}
