//go:build explore

package scenario

import "holdfast.dev/holdfast/explore"

// All returns every scenario.
func All() []*explore.Scenario {
	return []*explore.Scenario{
		sync2004,
		mapped2006, mapped2006Async,
		notify2006b,
		shadow2008c,
		truncate2009, truncatePinned,
		guard2010, guard2010Async,
		failed2018,
		twoSyncs,
		neighbours,
		reclaimed,
		fetchedTwice, fetchedBeside,
		toldAll,
		asyncReclaimed, asyncDiscarded, asyncPinned, asyncWritten,
		discardPinned, discardLooked, discardSynced,
		partial, attachedLate, held,
		region2008,
		regionCut,
		guardCut,
		pin2009,
		journalNewer,
		journalCut,
		journalTwice,
		journalRoom,
		legFails,
		legFailsJournal,
		resyncBeside, resyncCut,
		attachBeside,
		attachCut,
		attachAlone,
		scrubBeside,
		volumeCreate,
	}
}

// scenario is a story that begins in a house built by a plan.
func scenario(name, story string, o plan, run func(h *house)) *explore.Scenario {
	s := &explore.Scenario{Name: name, Story: story, Prepare: prepare(o), Run: func(x *explore.Execution) {
		h := build(x, o)
		run(h)
		h.told = true
	}}
	s.Less = o.less
	if o.cuts {
		s.Cuts = 1
	}
	if o.again {
		s.Cuts = 2
	}
	if o.faults {
		s.Faults = 1
	}
	return s
}

// Named returns the scenario of a name, or nil.
func Named(name string) *explore.Scenario {
	for _, s := range All() {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// shows says in which scenarios each mutant is looked for.
var shows = map[string][]*explore.Scenario{
	"2004":              {sync2004},
	"2006":              {mapped2006, mapped2006Async},
	"2006b":             {notify2006b},
	"2008c":             {shadow2008c},
	"2009":              {truncate2009},
	"2010":              {guard2010, guard2010Async},
	"2018":              {failed2018},
	"summary-late":      {neighbours},
	"towrite-early":     {twoSyncs},
	"flush-joined":      {twoSyncs},
	"wake-up-lost":      {twoSyncs, sync2004},
	"reclaim-unchecked": {reclaimed},
	"told-once":         {toldAll},
	"2008":              {region2008},
	"2008b":             {region2008},
	"unflushed":         {regionCut, guardCut},
	"bit-late":          {regionCut, guardCut},
	"2009b":             {pin2009},
	"replay-newer":      {journalNewer},
	"stale-leg":         {legFails},
	"away-forgotten":    {attachAlone, attachBeside},
	"log-ignored":       {resyncBeside, attachBeside},
}

// Of returns the scenarios that show a mutant; all of them, if nobody has said which.
func Of(mutant string) []*explore.Scenario {
	if s, ok := shows[mutant]; ok {
		return s
	}
	return All()
}
