//go:build explore

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"holdfast.dev/holdfast/explore"
)

// table prints what came of searches, as they end.
type table struct {
	o   *options
	out io.Writer

	found, missed   int // mutants
	schedules, cuts int // of the code as it is
	steps, wrong    int
	unfinished      []string
	all             []explore.Result
}

// add takes a job's results in.
func (t *table) add(j job, results []explore.Result) {
	for _, r := range results {
		if t.o.JSON {
			_ = json.NewEncoder(t.out).Encode(r) // whoever reads it notices
		}
		if r.Unfinished {
			t.unfinished = append(t.unfinished, j.String())
		}
	}
	t.all = append(t.all, results...)
	if j.mutant != "" {
		t.addMutant(j, results)
		return
	}
	for _, r := range results {
		t.schedules, t.cuts, t.steps = t.schedules+r.Schedules, t.cuts+r.Cuts, t.steps+r.Steps
		if r.Finding != nil {
			t.wrong++
			t.printf("FOUND   %-20s after %d schedules: %s\n        %s\n\n%s\n%s\n", r.Scenario, r.FoundAfter, r.Finding.What, r.Schedule, r.Story, r.Finding.Stack)
			continue
		}
		t.printf("sound   %-20s %9d schedules %s in %v\n", r.Scenario, r.Schedules, detail(r), r.Took.Round(100*time.Millisecond))
	}
}

func (t *table) addMutant(j job, results []explore.Result) {
	what, breaks := mistake(j.mutant)
	tried, took := 0, time.Duration(0)
	for _, r := range results {
		tried, took = tried+r.Schedules, took+r.Took
		if r.Finding == nil {
			continue
		}
		t.found++
		t.printf("mutant  %-20s found after %d schedules in %v, in %s\n        %s\n        => %s\n        %s\n",
			j.mutant, tried, took.Round(time.Millisecond), r.Scenario, what, r.Finding.What, r.Schedule)
		if t.o.Stories || t.o.Mutant != "" {
			t.printf("\n%s\n", r.Story)
		}
		return
	}
	t.missed++
	t.printf("MISSED  %-20s in %d schedules, %v\n        %s: %s\n", j.mutant, tried, took.Round(time.Millisecond), what, breaks)
}

// detail says what a search tried.
func detail(r explore.Result) string {
	var tried []string
	for _, n := range r.Tried {
		tried = append(tried, fmt.Sprint(n))
	}
	left := ""
	if r.Exhausted {
		left = ", all there are"
	}
	return fmt.Sprintf("(by preemptions %s; %d deeper, %d sampled; %d states%s; %d power cuts)",
		strings.Join(tried, ", "), r.Deeper, r.Sampled, r.States, left, r.Cuts)
}

func (t *table) printf(format string, args ...any) {
	if !t.o.JSON {
		fmt.Fprintf(t.out, format, args...)
	}
}

// end prints the sums, and says whether anything is not as it should be.
func (t *table) end() (bad bool) {
	t.printf("\n")
	if t.found+t.missed > 0 {
		t.printf("%d of %d mutants were found.\n", t.found, t.found+t.missed)
	}
	if t.schedules > 0 {
		t.printf("The code as it is: %d schedules, %d steps, %d power cuts; %d scenarios found something.\n", t.schedules, t.steps, t.cuts, t.wrong)
	}
	for _, u := range t.unfinished {
		t.printf("The search for %s was given up before its end.\n", u)
	}
	few := t.schedules < t.o.Least
	if few {
		t.printf("That is less than the %d schedules asked for.\n", t.o.Least)
	}
	return few || t.missed > 0 || t.wrong > 0 || len(t.unfinished) > 0
}
