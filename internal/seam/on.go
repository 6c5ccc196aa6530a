//go:build explore

package seam

import (
	"sync"
	"sync/atomic"
	"time"
)

// Enabled says whether this build can install a Scheduler.
const Enabled = true

// A Scheduler decides which task runs next. Exactly one task runs at a time;
// every method but Now may switch to another.
type Scheduler interface {
	// Start makes f a task.
	Start(name string, f func())
	// Step is a place where another task may be let run first.
	Step(where string, arg uint64)
	// Lock is such a place too, before the lock m is taken.
	Lock(m any)
	// Park stops the calling task until Wake(key) or, if d is above zero,
	// until d has passed in the scheduler's time; it says whether Wake did it.
	Park(key any, d time.Duration) (woken bool)
	// Wake makes tasks parked on key runnable: all of them, or one.
	Wake(key any, all bool)
	// Now is the scheduler's time.
	Now() time.Time
}

var installed atomic.Pointer[Scheduler]

// Install makes s decide from here on; nil goes back to the real thing. Call it
// only while no other task exists.
func Install(s Scheduler) {
	if s == nil {
		installed.Store(nil)
		return
	}
	installed.Store(&s)
}

func scheduler() Scheduler {
	if p := installed.Load(); p != nil {
		return *p
	}
	return nil
}

// Mutex is a mutual exclusion lock.
type Mutex struct{ mu sync.Mutex }

// Lock locks m.
func (m *Mutex) Lock() {
	s := scheduler()
	if s == nil {
		m.mu.Lock()
		return
	}
	s.Lock(m)
	for !m.mu.TryLock() {
		s.Park(m, 0)
	}
}

// TryLock locks m if it is free and says whether it did.
func (m *Mutex) TryLock() bool {
	if s := scheduler(); s != nil {
		s.Lock(m)
	}
	return m.mu.TryLock()
}

// Unlock unlocks m.
func (m *Mutex) Unlock() {
	m.mu.Unlock()
	if s := scheduler(); s != nil {
		s.Wake(m, false)
	}
}

// Cond is a condition variable on a Mutex.
type Cond struct {
	L    *Mutex
	real *sync.Cond
}

// NewCond returns a condition variable that is used with l held.
func NewCond(l *Mutex) *Cond { return &Cond{L: l, real: sync.NewCond(&l.mu)} }

// Wait unlocks c.L, waits to be woken, and locks c.L again.
func (c *Cond) Wait() {
	s := scheduler()
	if s == nil {
		c.real.Wait()
		return
	}
	// Between Unlock and Park no other task runs: one task runs at a time,
	// and Unlock only makes others runnable.
	c.L.mu.Unlock()
	s.Wake(c.L, false)
	s.Park(c, 0)
	c.L.Lock()
}

// Signal wakes one waiter.
func (c *Cond) Signal() { c.wake(false) }

// Broadcast wakes all waiters.
func (c *Cond) Broadcast() { c.wake(true) }

func (c *Cond) wake(all bool) {
	switch s := scheduler(); {
	case s != nil:
		s.Wake(c, all)
	case all:
		c.real.Broadcast()
	default:
		c.real.Signal()
	}
}

// Go runs f as a task of its own. The name says in a trace who acts.
func Go(name string, f func()) {
	if s := scheduler(); s != nil {
		s.Start(name, f)
		return
	}
	go f()
}

// Point marks a step whose order against other tasks matters.
func Point(where string, arg uint64) {
	if s := scheduler(); s != nil {
		s.Step(where, arg)
	}
}

// Now returns the current time.
func Now() time.Time {
	if s := scheduler(); s != nil {
		return s.Now()
	}
	return time.Now()
}

// Group runs tasks and waits for all of them.
type Group struct {
	mu   Mutex
	n    int
	once sync.Once
	done *Cond
}

func (g *Group) init() { g.once.Do(func() { g.done = NewCond(&g.mu) }) }

// Go starts f as a task of the group.
func (g *Group) Go(name string, f func()) {
	g.init()
	g.mu.Lock()
	g.n++
	g.mu.Unlock()
	Go(name, func() {
		defer func() {
			g.mu.Lock()
			g.n--
			g.mu.Unlock()
			g.done.Broadcast()
		}()
		f()
	})
}

// Wait returns when every task of the group has returned.
func (g *Group) Wait() {
	g.init()
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.n > 0 {
		g.done.Wait()
	}
}

// Alarm lets one task sleep until a time has passed or it is rung.
type Alarm struct {
	ring chan struct{}
}

// NewAlarm returns an Alarm that has not been rung.
func NewAlarm() *Alarm { return &Alarm{ring: make(chan struct{}, 1)} }

// Ring wakes the sleeper, or the next one to sleep. Rings do not add up.
func (a *Alarm) Ring() {
	select {
	case a.ring <- struct{}{}:
	default:
	}
	if s := scheduler(); s != nil {
		s.Wake(a, true)
	}
}

// Sleep returns when d has passed or the alarm is rung, and says whether it
// was rung. A d of zero or less sleeps until it is rung.
func (a *Alarm) Sleep(d time.Duration) (rung bool) {
	s := scheduler()
	if s == nil {
		return a.sleepReal(d)
	}
	for {
		select {
		case <-a.ring:
			return true
		default:
		}
		if !s.Park(a, d) && d > 0 {
			return false
		}
	}
}

func (a *Alarm) sleepReal(d time.Duration) bool {
	if d <= 0 {
		<-a.ring
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-a.ring:
		return true
	case <-t.C:
		return false
	}
}
