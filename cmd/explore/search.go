//go:build explore

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"

	"holdfast.dev/holdfast/explore"
	"holdfast.dev/holdfast/explore/scenario"
	"holdfast.dev/holdfast/internal/mutant"
)

// job is one search: a scenario with the code as it is, or a mutant in the scenarios
// that are told of it, until one finds it.
type job struct {
	mutant    string
	scenarios []*explore.Scenario
}

// jobs are the searches that are asked for.
func (o *options) jobs() (all []job, err error) {
	only := scenario.Named(o.Scenario)
	if o.Scenario != "" && only == nil {
		return nil, fmt.Errorf("there is no scenario %q", o.Scenario)
	}
	if o.Mutant != "" {
		if err := mutant.Switch(o.Mutant); err != nil {
			return nil, err
		}
		in := scenario.Of(o.Mutant)
		if only != nil {
			in = []*explore.Scenario{only}
		}
		return []job{{o.Mutant, in}}, nil
	}
	if only != nil {
		return []job{{"", []*explore.Scenario{only}}}, nil
	}
	for _, m := range mutant.All {
		all = append(all, job{m.Name, scenario.Of(m.Name)})
	}
	scenarios := scenario.All()
	// What takes longest is begun first, so that at the end none is waited for alone.
	slices.SortStableFunc(scenarios, func(a, b *explore.Scenario) int { return b.Cuts - a.Cuts })
	for _, s := range scenarios {
		all = append(all, job{"", []*explore.Scenario{s}})
	}
	return all, nil
}

// search does the jobs in this process and prints their results.
func search(o *options, jobs []job, out io.Writer) int {
	runtime.GOMAXPROCS(1)   // one task runs at a time: more would only pass it about
	debug.SetGCPercent(400) // an execution leaves little behind, and there are many
	for _, j := range jobs {
		if err := mutant.Switch(j.mutant); err != nil {
			panic(err) // it was in the table
		}
		for _, s := range j.scenarios {
			r := explore.Search{Scenario: s, Mutant: j.mutant, Preemptions: o.Preemptions, More: o.More, Seed: o.Seed, Time: o.Limit}.Run()
			if err := json.NewEncoder(out).Encode(r); err != nil {
				return exitFailure
			}
			if r.Finding != nil {
				break
			}
		}
	}
	return exitOK
}
