//go:build explore

package scenario

import (
	"testing"

	"holdfast.dev/holdfast/explore"
	"holdfast.dev/holdfast/internal/mutant"
)

// Every scenario ends well with the code as it is, as far as one preemption goes; the
// command explore goes further.
func TestSound(t *testing.T) {
	for _, s := range All() {
		t.Run(s.Name, func(t *testing.T) {
			r := explore.Search{Scenario: s, Preemptions: 1}.Run()
			if r.Finding != nil {
				t.Errorf("after %d schedules: %s\n%s\n%s%s", r.FoundAfter, r.Finding.What, r.Schedule, r.Story, r.Finding.Stack)
			}
			t.Logf("%d schedules, %d power cuts", r.Schedules, r.Cuts)
		})
	}
}

// Every mutant has scenarios, and scenarios that show something are known.
func TestEveryMutantIsLookedFor(t *testing.T) {
	known := map[string]bool{}
	for _, m := range mutant.All {
		known[m.Name] = true
		if len(shows[m.Name]) == 0 {
			t.Errorf("no scenario shows mutant %s", m.Name)
		}
	}
	for name, in := range shows {
		if !known[name] {
			t.Errorf("there is no mutant %s", name)
		}
		for _, s := range in {
			if Named(s.Name) != s {
				t.Errorf("scenario %s is not among all", s.Name)
			}
		}
	}
}

// What a scenario does follows from its choices alone: run twice, it makes the same
// steps.
func TestReplays(t *testing.T) {
	for _, s := range All() {
		t.Run(s.Name, func(t *testing.T) {
			for _, text := range explore.Samples(s, 20) {
				schedule, err := explore.ParseSchedule(text)
				if err != nil {
					t.Fatal(err)
				}
				if _, _, err := explore.Replay(s, schedule); err != nil {
					t.Errorf("%s: %v", text, err)
				}
			}
		})
	}
}
