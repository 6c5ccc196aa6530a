//go:build explore

package explore

import (
	"errors"
	"strings"
	"testing"
	"time"

	"holdfast.dev/holdfast/internal/seam"
)

// toy is a scenario of plain functions.
func toy(tasks ...func(x *Execution)) *Scenario {
	return &Scenario{Name: "toy", Story: "A toy.", Run: func(x *Execution) {
		var all []Task
		for i, f := range tasks {
			all = append(all, Task{Name: string(rune('a' + i)), Do: func() { f(x) }})
		}
		x.Together(all...)
	}}
}

// lostUpdate is two tasks that add one to a number without a lock.
func lostUpdate() *Scenario {
	return &Scenario{Name: "lost-update", Story: "Two tasks count without a lock.", Run: func(x *Execution) {
		n := 0
		add := func() {
			seam.Point("load", 0)
			was := n
			seam.Point("store", 0)
			n = was + 1
			x.Note("counts %d", n)
		}
		x.Together(Task{"a", add}, Task{"b", add})
		if n != 2 {
			x.Fail("counted %d", n)
		}
	}}
}

// What needs a preemption is found with one and not without, the schedule is as short
// as can be, and it replays.
func TestFindsALostUpdate(t *testing.T) {
	if r := (Search{Scenario: lostUpdate()}).Run(); r.Finding != nil || r.Schedules != 2 {
		t.Errorf("without a preemption: %+v", r)
	}
	r := Search{Scenario: lostUpdate(), Preemptions: 2}.Run()
	if r.Finding == nil || r.Finding.What != "counted 1" || len(r.Tried) != 1 {
		t.Fatalf("with two: %+v", r)
	}
	s, err := ParseSchedule(r.Schedule)
	if err != nil || s.Len() != 1 {
		t.Fatalf("%q has %d choices, %v", r.Schedule, s.Len(), err)
	}
	found, story, err := Replay(lostUpdate(), s)
	if err != nil || found == nil || found.What != "counted 1" || !strings.Contains(story.String(), "counts 1") {
		t.Errorf("replay: %v, %v\n%s", found, err, story)
	}
}

// Every schedule is tried once: two tasks of two steps, of which the first is no choice
// for whom it starts, make as many executions as can be counted by hand.
func TestTriesEverythingOnce(t *testing.T) {
	seen := map[string]int{}
	s := func() *Scenario {
		return &Scenario{Name: "words", Run: func(x *Execution) {
			word := ""
			say := func(a, b string) func() {
				return func() {
					seam.Point("", 0)
					word += a
					seam.Point("", 0)
					word += b
				}
			}
			x.Together(Task{"a", say("a", "b")}, Task{"c", say("c", "d")})
			seen[word]++
		}}
	}
	r := Search{Scenario: s(), Preemptions: 5}.Run()
	if r.Finding != nil {
		t.Fatal(r.Finding)
	}
	want := []string{"abcd", "cdab", "acbd", "acdb", "cabd", "cadb"}
	for _, w := range want {
		if seen[w] == 0 {
			t.Errorf("%s was not tried: %v", w, seen)
		}
	}
	if len(seen) != len(want) {
		t.Errorf("tried: %v", seen)
	}
	// Three steps each, counting the one at which a task has ended: (3+3)! / (3! 3!).
	if r.Schedules != 20 {
		t.Errorf("%d schedules (%v), want 20", r.Schedules, r.Tried)
	}
}

func TestFindsWhatStops(t *testing.T) {
	for name, c := range map[string]struct {
		s    *Scenario
		want string
	}{
		"a deadlock": {toy(func(*Execution) {
			var m seam.Mutex
			m.Lock()
			m.Lock()
		}), "nobody can go on: main waits"},
		"an endless loop": {toy(func(*Execution) {
			for {
				seam.Point("round", 0)
			}
		}), "no end after"},
		"a panic":   {toy(func(*Execution) { panic("invariant violated") }), "invariant violated"},
		"a failure": {toy(func(x *Execution) { x.Fail("it is %d", 7) }), "it is 7"},
	} {
		t.Run(name, func(t *testing.T) {
			r := Search{Scenario: c.s}.Run()
			if r.Finding == nil || !strings.Contains(r.Finding.What, c.want) {
				t.Errorf("found %+v, want %q", r.Finding, c.want)
			}
		})
	}
}

// A lost wake-up: who looks and then sleeps without a lock misses the bell.
func TestFindsALostWakeUp(t *testing.T) {
	s := &Scenario{Name: "bell", Run: func(x *Execution) {
		var mu seam.Mutex
		c := seam.NewCond(&mu)
		rung := false
		x.Together(Task{"sleeper", func() {
			if rung {
				return
			}
			mu.Lock()
			c.Wait()
			mu.Unlock()
		}}, Task{"ringer", func() {
			mu.Lock()
			rung = true
			mu.Unlock()
			c.Broadcast()
		}})
	}}
	r := Search{Scenario: s, Preemptions: 1}.Run()
	if r.Finding == nil || !strings.Contains(r.Finding.What, "sleeper waits") {
		t.Errorf("%+v", r.Finding)
	}
}

// Signal wakes who has waited longest; time passes only when nobody can run.
func TestWaiting(t *testing.T) {
	var order string
	s := &Scenario{Name: "waiting", Run: func(x *Execution) {
		order = ""
		var mu seam.Mutex
		c := seam.NewCond(&mu)
		wait := func(name string) Task {
			return Task{name, func() {
				mu.Lock()
				defer mu.Unlock()
				c.Wait()
				order += name
			}}
		}
		x.Together(wait("a"), wait("b"), Task{"alarm", func() {
			begun := seam.Now()
			if seam.NewAlarm().Sleep(time.Hour) || seam.Now().Sub(begun) != time.Hour {
				x.Fail("slept %v", seam.Now().Sub(begun))
			}
			c.Signal()
			seam.NewAlarm().Sleep(time.Hour)
			c.Signal()
		}})
	}}
	if x := execute(s, &plan{}, nil); x.found != nil || order != "ab" {
		t.Errorf("%+v, %q", x.found, order)
	}
}

// Data is tried whole; cuts and faults as often as the scenario lets them, and not in
// what is calm.
func TestChoices(t *testing.T) {
	count := map[[4]int]int{}
	s := &Scenario{Name: "choices", Cuts: 1, Faults: 1, Run: func(x *Execution) {
		var c [4]int
		c[0] = x.Choose(Data, 3)
		c[1] = x.Choose(Cut, 2)
		x.Calm(func() { c[2] = x.Choose(Cut, 2) })
		c[3] = x.Choose(Fault, 2) + x.Choose(Fault, 2)
		count[c]++
	}}
	r := Search{Scenario: s}.Run()
	if r.Schedules != 3*2*3 || r.Cuts != 9 {
		t.Errorf("%d schedules, %d cuts: %v", r.Schedules, r.Cuts, count)
	}
	for c := range count {
		if c[2] != 0 || c[3] > 1 {
			t.Errorf("%v was tried", c)
		}
	}
}

// What needs many preemptions in a row is found by sampling.
func TestSamples(t *testing.T) {
	s := &Scenario{Name: "ladder", Run: func(x *Execution) {
		at := 0
		climb := func(from int) Task {
			return Task{"climber", func() {
				for rung := from; rung < 6; rung += 2 {
					seam.Point("rung", uint64(rung))
					if at == rung {
						at++
					}
				}
			}}
		}
		x.Together(climb(1), climb(0))
		if at == 4 {
			x.Fail("up there")
		}
	}}
	r := Search{Scenario: s, Preemptions: 0, More: 20000, Seed: 1}.Run()
	if r.Finding == nil {
		t.Fatalf("%+v", r)
	}
	if sc, err := ParseSchedule(r.Schedule); err != nil || sc.Len() > 4 {
		t.Errorf("%s: %v", r.Schedule, err)
	}
}

func TestSchedules(t *testing.T) {
	s := Schedule{"toy", "2004", []deviation{{3, 1}, {12, 2}}, 0xabc}
	if s.String() != "hf1:toy:2004:3.1-12.2:abc" {
		t.Errorf("it is %s", s)
	}
	for _, good := range []Schedule{s, {Scenario: "toy"}} {
		if again, err := ParseSchedule(good.String()); err != nil || again.String() != good.String() {
			t.Errorf("%v: %v, %v", good, again, err)
		}
	}
	for text, want := range map[string]string{
		"":                      `version ""`,
		"hf0:toy:-:3.1:abc":     `version "hf0"`,
		"hf1:toy:-:3.1":         "4 parts",
		"hf1:toy:-:3.1:xyz":     "fingerprint",
		"hf1:toy:-:3:abc":       `"3" is not a choice`,
		"hf1:toy:-:3.0:abc":     `"3.0" is not a choice`,
		"hf1:toy:-:3.256:abc":   `"3.256" is not a choice`,
		"hf1:toy:-:-1.1:abc":    `"" is not a choice`,
		"hf1:toy:-:5.1-5.1:abc": "choice 5 comes after choice 5",
	} {
		if _, err := ParseSchedule(text); !errors.Is(err, ErrSchedule) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, _, err := Replay(lostUpdate(), Schedule{Scenario: "other"}); !errors.Is(err, ErrSchedule) || !strings.Contains(err.Error(), `"other"`) {
		t.Errorf("another scenario: %v", err)
	}
	for _, other := range []Schedule{{Scenario: "lost-update", print: 1}, {Scenario: "lost-update", deviations: []deviation{{99, 1}}}} {
		if _, story, err := Replay(lostUpdate(), other); !errors.Is(err, ErrDiverged) || story == nil {
			t.Errorf("%s: %v", other, err)
		}
	}
}

// States that were met are not gone on from: beyond its bound a search of a small
// scenario comes to an end, and has then seen what only many preemptions show.
func TestComesToAnEnd(t *testing.T) {
	wrong := 0
	s := &Scenario{Name: "counter", Run: func(x *Execution) {
		n, at := [2]int{}, 0
		count := func(i int) func() {
			return func() {
				for range 4 {
					seam.Point("count.shared", 0)
					if at%2 == i {
						at++
					}
					seam.Point("count.own", uint64(i))
					n[i]++
				}
			}
		}
		x.Together(Task{"a", count(0)}, Task{"b", count(1)})
		if at == 7 {
			wrong++
		}
	}}
	all := Search{Scenario: s, Preemptions: 20}.Run()
	if wrong == 0 {
		t.Fatal("nothing of the kind is there to be found")
	}
	wrong = 0
	r := Search{Scenario: s, Preemptions: 0, More: 100000}.Run()
	if !r.Exhausted || wrong == 0 || r.Unlike != 0 || r.States != all.States {
		t.Errorf("%d times, of %d schedules with %d states (unlike: %d); of %d there are %d",
			wrong, r.Schedules, r.States, r.Unlike, all.Schedules, all.States)
	}
	if r.Deeper*5 > all.Schedules {
		t.Errorf("%d schedules instead of %d", r.Deeper, all.Schedules)
	}
}

// What no step names is noticed where it counts.
func TestNoticesWhatIsNotNamed(t *testing.T) {
	s := &Scenario{Name: "hidden", Run: func(x *Execution) {
		hidden := false
		x.Together(Task{"a", func() {
			seam.Point("a.sets", 0)
			hidden = true
			seam.Point("a.goes", 0)
			seam.Point("a.ends", 0)
		}}, Task{"b", func() {
			seam.Point("b.looks", 0)
			saw := hidden
			seam.Point("b.goes", 0)
			if saw {
				seam.Point("b.sees", 0)
			}
		}})
	}}
	if r := (Search{Scenario: s, Preemptions: 3}).Run(); r.Unlike == 0 {
		t.Errorf("%+v", r)
	}
}

// A story has a column for each task that does something, tells once what is done again
// and again, and leaves out what is calm.
func TestStory(t *testing.T) {
	s := toy(
		func(x *Execution) { x.Note("knocks"); x.Note("knocks"); seam.Point("cache.fill", 7) },
		func(x *Execution) { x.Calm(func() { seam.Point("cache.fill", 8) }); x.Fail("nobody is in") },
	)
	_, story, err := Replay(s, Schedule{Scenario: "toy"})
	if !errors.Is(err, ErrDiverged) { // the fingerprint is not known here
		t.Fatal(err)
	}
	want := "toy: A toy.\n\na\n-\nknocks, 2 times\nreads page 7 in\n\n=> nobody is in\n"
	if got := story.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
