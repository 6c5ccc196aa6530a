//go:build explore

package scenario

import "holdfast.dev/holdfast/explore"

// All returns every scenario.
func All() []*explore.Scenario {
	return []*explore.Scenario{sync2004}
}

// scenario is a story that begins in a house built by a plan.
func scenario(name, story string, o plan, run func(h *house)) *explore.Scenario {
	s := &explore.Scenario{Name: name, Story: story, Prepare: prepare(o), Run: func(x *explore.Execution) { run(build(x, o)) }}
	if o.cuts {
		s.Cuts = 1
	}
	if o.faults {
		s.Faults = 1
	}
	return s
}
