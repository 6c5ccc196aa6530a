//go:build explore

package explore

import (
	"fmt"
	"strings"
	"time"
)

// Start implements seam.Scheduler.
func (x *Execution) Start(name string, f func()) { x.newTask(name, f) }

// Step implements seam.Scheduler: another task may go on here instead.
func (x *Execution) Step(where string, arg uint64) { x.step(where, arg, objectOf(where, arg)) }

// Lock implements seam.Scheduler.
func (x *Execution) Lock(m any) { x.step("lock", 0, m) }

func (x *Execution) step(where string, arg uint64, on any) {
	x.running.at = where
	if x.steps++; x.steps > maxSteps {
		x.Fail("no end after %d steps: %s", maxSteps, x.standing())
	}
	x.mark(where, arg)
	if x.calm == 0 && x.ready > 1 {
		others := x.runnable(x.running)
		if took := x.choose(Preempt, len(others)+1, others); took > 0 {
			x.pass(others[took-1])
		}
	}
	x.past.happens(x.running, on, arg)
}

// mark adds a step to the fingerprints (FNV-1a), and to what is told.
func (x *Execution) mark(where string, arg uint64) {
	const prime = 1099511628211
	h := x.running.print
	for i := range len(where) {
		h = (h ^ uint64(where[i])) * prime
	}
	x.running.print = (h ^ arg) * prime
	x.print = mix(x.print, x.running.print)
	if x.trace != nil && x.calm == 0 {
		x.trace.step(x.running, where, arg)
	}
}

// deeds is a fingerprint of what each task did, whatever the others did meanwhile.
func (x *Execution) deeds() (all uint64) {
	for _, t := range x.tasks {
		all = mix(all, t.print)
	}
	return all
}

// runnable returns the tasks that can run, beginning after the one given and
// without it. The slice is used again.
func (x *Execution) runnable(after *task) []*task {
	x.options = x.options[:0]
	for i := range len(x.tasks) - 1 {
		if t := x.tasks[(after.id+1+i)%len(x.tasks)]; t.state == ready {
			x.options = append(x.options, t)
		}
	}
	return x.options
}

// pass lets t run, and returns when the task that called may run again.
func (x *Execution) pass(t *task) {
	me := x.running
	x.running = t
	t.gate <- struct{}{}
	<-me.gate
}

// Park implements seam.Scheduler.
func (x *Execution) Park(key any, d time.Duration) (woken bool) {
	me := x.running
	x.parks++
	me.state, me.key, me.woken, me.deadline, me.since = parked, key, false, time.Time{}, x.parks
	if d > 0 {
		me.deadline = x.now.Add(d)
	}
	x.ready--
	x.next()
	<-me.gate
	return me.woken
}

// next lets some task run after one that cannot.
func (x *Execution) next() {
	if x.ready == 0 && !x.passTime() {
		x.found = &Finding{What: "nobody can go on: " + x.standing()}
		close(x.ended)
		return
	}
	others := x.runnable(x.running)
	if x.running.state == ready {
		others = append(others, x.running) // the time that it waited for has come
	}
	took := 0
	if len(others) > 1 && x.calm == 0 {
		took = x.choose(Switch, len(others), others)
	}
	x.running = others[took]
	x.running.gate <- struct{}{}
}

// passTime lets the time pass until a task has waited for long enough, and says
// whether there is one.
func (x *Execution) passTime() bool {
	var first *task
	for _, t := range x.tasks {
		if t.state == parked && !t.deadline.IsZero() && (first == nil || t.deadline.Before(first.deadline)) {
			first = t
		}
	}
	if first == nil {
		return false
	}
	x.now = first.deadline
	x.rouse(first, false)
	return true
}

// Wake implements seam.Scheduler.
func (x *Execution) Wake(key any, all bool) { x.wake(key, all) }

func (x *Execution) wake(key any, all bool) {
	x.past.releases(x.running, key)
	var longest *task
	for _, t := range x.tasks {
		switch {
		case t.state != parked || t.key != key:
		case all:
			x.rouse(t, true)
		case longest == nil || t.since < longest.since:
			longest = t
		}
	}
	if longest != nil {
		x.rouse(longest, true)
	}
}

func (x *Execution) rouse(t *task, woken bool) {
	t.state, t.key, t.woken = ready, nil, woken
	x.past.follows(t, x.running)
	x.ready++
}

// standing says where the tasks stand that have not ended.
func (x *Execution) standing() string {
	var all []string
	for _, t := range x.tasks {
		if t.state != ended {
			what := "could run"
			if t.state == parked {
				what = "waits"
			}
			all = append(all, fmt.Sprintf("%s %s after %s", t.name, what, t.at))
		}
	}
	return strings.Join(all, "; ")
}
