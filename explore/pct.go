//go:build explore

package explore

import (
	"hash/maphash"
	"math/rand/v2"
)

// pctDepth is how many orderings a sampled execution is made for: of a defect that
// needs d of them an execution of k choices finds it with a probability of at least
// 1/(n*k^(d-1)). Defects that need more than three are rare.
const pctDepth = 3

// oneIn is how often a sampled execution lets the power or a device fail, at each
// operation where it may.
const oneIn = 16

// pct chooses who goes on by priorities: the ready task with the highest, and at a
// few choices made beforehand the one that runs gets the lowest.
type pct struct {
	rng     *rand.Rand
	bound   bounds
	used    bounds
	changes [pctDepth - 1]int
	lowest  int
	taken   []deviation
}

func newPCT(rng *rand.Rand, b bounds, choices int) *pct {
	p := &pct{rng: rng, bound: b}
	for i := range p.changes {
		p.changes[i] = rng.IntN(max(choices, 1))
	}
	return p
}

func (p *pct) choose(at int, kind Kind, n int, who []*task) int {
	took := p.option(at, kind, n, who)
	if took > 0 {
		p.used[kind]++
		p.taken = append(p.taken, deviation{uint32(at), uint8(took)})
	}
	return took
}

func (p *pct) option(at int, kind Kind, n int, who []*task) int {
	switch {
	case kind == Data:
		return p.rng.IntN(n)
	case kind == Cut || kind == Fault:
		if p.used[kind] == p.bound[kind] || p.rng.IntN(oneIn) > 0 {
			return 0
		}
		return 1 + p.rng.IntN(n-1)
	}
	if len(who) == n-1 {
		return p.preempt(at, who)
	}
	return p.highest(who)
}

// preempt lets the task that runs go on, unless another has a higher priority.
func (p *pct) preempt(at int, others []*task) int {
	me := others[0].of.running
	p.know(me)
	for _, c := range p.changes {
		if c == at {
			p.lowest--
			me.priority = p.lowest
		}
	}
	best := p.highest(others)
	if others[best].priority > me.priority {
		return best + 1
	}
	return 0
}

func (p *pct) highest(who []*task) int {
	best := 0
	for i, t := range who {
		if p.know(t); t.priority > who[best].priority {
			best = i
		}
	}
	return best
}

// know gives a task its priority.
func (p *pct) know(t *task) {
	if t.priority == 0 {
		t.priority = 1 + p.rng.IntN(1<<30)
	}
}

// sample tries schedules at random. It counts those that have more preemptions than
// any that were tried otherwise, and those only once.
func (q *searcher) sample() {
	rng := rand.New(rand.NewPCG(q.Seed, 2))
	seen, seed := map[uint64]struct{}{}, maphash.MakeSeed()
	choices := len(execute(q.Scenario, &plan{}, nil).taken)
	for range q.More / 4 {
		p := newPCT(rng, q.bound, choices)
		x := q.try(p, bounds{}, func() []deviation { return p.taken })
		if x.found != nil || q.spent() {
			return
		}
		h := fingerprint(seed, p.taken)
		if _, again := seen[h]; again || p.used[Preempt] <= q.Preemptions+1 {
			q.r.Schedules--
			continue
		}
		seen[h] = struct{}{}
		q.r.Sampled++
		q.r.Cuts += p.used[Cut]
		choices = max(choices, len(x.taken))
	}
}

func fingerprint(seed maphash.Seed, d []deviation) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	for _, d := range d {
		maphash.WriteComparable(&h, d)
	}
	return h.Sum64()
}

// Samples returns schedules of a scenario, chosen at random, as strings: each replays
// exactly, if the choices alone decide what happens.
func Samples(s *Scenario, n int) (all []string) {
	s.prepare()
	rng := rand.New(rand.NewPCG(3, 4))
	for range n {
		p := newPCT(rng, bounds{Switch: -1, Data: -1, Preempt: -1, Cut: s.Cuts, Fault: s.Faults}, 100)
		x := execute(s, p, nil)
		all = append(all, Schedule{Scenario: s.Name, deviations: p.taken, print: x.print}.String())
	}
	return all
}
