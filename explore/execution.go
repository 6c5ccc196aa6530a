//go:build explore

package explore

import (
	"fmt"
	"runtime/debug"
	"time"

	"holdfast.dev/holdfast/internal/seam"
)

// maxSteps is how many steps an execution may take: the longest that end take
// some ten thousand.
const maxSteps = 200_000

// Scenario is a story that is told in every order.
type Scenario struct {
	// Name is what a command line calls it.
	Name string
	// Story is what happens, in a sentence or two.
	Story string
	// Cuts and Faults bound how often in one execution the power and a device may
	// fail.
	Cuts, Faults int
	// Less is with how many preemptions fewer than others it is tried, where cuts and
	// faults at every operation multiply what there is to try.
	Less int
	// Prepare, if not nil, is called once before the first execution, with no
	// scheduler there: for what all executions begin with.
	Prepare func()
	// Run tells it, as the first task of an execution.
	Run func(x *Execution)

	prepared bool
}

func (s *Scenario) prepare() {
	if s.Prepare != nil && !s.prepared {
		s.Prepare()
	}
	s.prepared = true
}

// Execution is one run of a scenario. It is the scheduler of package seam while it
// lasts. Its methods are for the task that runs.
type Execution struct {
	choices chooser
	taken   []point

	tasks   []*task
	running *task
	ready   int // how many tasks can run
	alive   int // how many have not ended
	calm    int // above zero nothing is chosen
	options []*task

	now    time.Time
	steps  int
	parks  int
	print  uint64 // a fingerprint of all steps
	past   past
	trace  *trace // nil: nobody looks
	found  *Finding
	ended  chan struct{}
	unwind []func()
}

// Finding is what an execution found.
type Finding struct {
	// What went wrong, in a sentence.
	What string
	// Stack is that of the task, where it panicked.
	Stack string
}

type task struct {
	of    *Execution
	id    int
	name  string
	gate  chan struct{} // receives when the task may run
	state taskState
	// key is what a parked task waits for, until deadline if that is not zero.
	key      any
	deadline time.Time
	woken    bool
	since    int    // when it parked, among all parkings: who waits longest is woken first
	at       string // the last step, for who asks where it stands
	priority int    // of pct
	past     uint64 // what happened before it goes on: see past
	print    uint64 // a fingerprint of its steps
}

type taskState uint8

const (
	ready taskState = iota
	parked
	ended
)

// epoch is when every execution begins.
var epoch = time.Date(2006, 12, 29, 0, 0, 0, 0, time.UTC)

// execute runs a scenario once.
func execute(s *Scenario, c chooser, t *trace) *Execution {
	x := &Execution{choices: c, now: epoch, trace: t, past: newPast(), ended: make(chan struct{})}
	seam.Install(x)
	x.newTask("main", func() { s.Run(x) })
	x.running = x.tasks[0]
	x.tasks[0].gate <- struct{}{}
	<-x.ended
	seam.Install(nil)
	for _, f := range x.unwind {
		f()
	}
	return x
}

// AtEnd has f called when the execution is over, by its caller and with the
// scheduler gone, whether something was found or not: to give back what the system
// has lent.
func (x *Execution) AtEnd(f func()) { x.unwind = append(x.unwind, f) }

func (x *Execution) newTask(name string, f func()) *task {
	t := &task{of: x, id: len(x.tasks), name: name, gate: make(chan struct{}, 1)}
	if x.running != nil {
		x.past.follows(t, x.running)
	}
	x.tasks = append(x.tasks, t)
	x.ready++
	x.alive++
	go func() {
		<-t.gate
		defer x.end(t)
		f()
	}()
	return t
}

// end is the last thing that a task does.
func (x *Execution) end(t *task) {
	if p := recover(); p != nil {
		x.found = &Finding{What: fmt.Sprint(p), Stack: string(debug.Stack())}
		close(x.ended)
		return
	}
	t.state = ended
	x.ready--
	x.alive--
	if x.alive == 0 {
		close(x.ended)
		return
	}
	x.next()
}

// Fail ends the execution with a finding. It does not return.
func (x *Execution) Fail(format string, args ...any) {
	x.found = &Finding{What: fmt.Sprintf(format, args...)}
	x.stop()
}

func (x *Execution) stop() {
	close(x.ended)
	select {} // the task is left here: see the package comment
}

// Together starts tasks beside each other and returns when all have ended.
func (x *Execution) Together(tasks ...Task) {
	left := len(tasks)
	for _, t := range tasks {
		x.newTask(t.Name, func() {
			t.Do()
			if left--; left == 0 {
				x.wake(&left, true)
			}
		})
	}
	for left > 0 {
		x.Park(&left, 0)
	}
}

// Task is something that somebody does.
type Task struct {
	Name string
	Do   func()
}

// Choose tries all of n ways to go on; 0 is the default.
func (x *Execution) Choose(kind Kind, n int) int {
	if n > maxOptions {
		panic(fmt.Sprintf("explore: a choice of %d", n))
	}
	if n < 2 || kind != Data && x.calm > 0 {
		return 0
	}
	return x.choose(kind, n, nil)
}

// Calm runs f with no other task let in but where f has to wait, and without faults
// or cuts: for what a scenario does before its story begins and after it has ended. Of
// its steps nothing is told.
func (x *Execution) Calm(f func()) {
	x.calm++
	f()
	x.calm--
}

func (x *Execution) choose(kind Kind, n int, who []*task) int {
	at := x.past.at(x.running)
	took := x.choices.choose(len(x.taken), kind, n, who)
	x.taken = append(x.taken, point{at, kind, uint8(n), uint8(took)})
	if who == nil {
		x.past.decides(x.running, kind, took)
	}
	return took
}

// Touch says that the task looks at or changes something that tasks share outside of
// the code that is explored, so that the order in which they do counts.
func (x *Execution) Touch(what any) { x.past.happens(x.running, what, 0) }

// Now implements seam.Scheduler. Time passes only while every task waits.
func (x *Execution) Now() time.Time { return x.now }
