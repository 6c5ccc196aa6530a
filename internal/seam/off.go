//go:build !explore

package seam

import (
	"sync"
	"time"
)

// Enabled says whether this build can install a Scheduler.
const Enabled = false

// Mutex is a mutual exclusion lock.
type Mutex = sync.Mutex

// Cond is a condition variable on a Mutex.
type Cond = sync.Cond

// NewCond returns a condition variable that is used with l held.
func NewCond(l *Mutex) *Cond { return sync.NewCond(l) }

// Go runs f as a task of its own. The name says in a trace who acts.
func Go(name string, f func()) { go f() }

// Point marks a step whose order against other tasks matters: a change of a
// state word or a tag, or a device operation. where is a constant such as
// "cache.claim"; arg is the page, region or offset that it concerns.
func Point(where string, arg uint64) {}

// Now returns the current time.
func Now() time.Time { return time.Now() }

// Group runs tasks and waits for all of them.
type Group struct{ wg sync.WaitGroup }

// Go starts f as a task of the group.
func (g *Group) Go(name string, f func()) { g.wg.Go(f) }

// Wait returns when every task of the group has returned.
func (g *Group) Wait() { g.wg.Wait() }

// Alarm lets one task sleep until a time has passed or it is rung.
// The zero Alarm is not usable: call NewAlarm.
type Alarm struct{ ring chan struct{} }

// NewAlarm returns an Alarm that has not been rung.
func NewAlarm() *Alarm { return &Alarm{ring: make(chan struct{}, 1)} }

// Ring wakes the sleeper, or the next one to sleep. Rings do not add up.
func (a *Alarm) Ring() {
	select {
	case a.ring <- struct{}{}:
	default:
	}
}

// Sleep returns when d has passed or the alarm is rung, and says whether it
// was rung. A d of zero or less sleeps until it is rung.
func (a *Alarm) Sleep(d time.Duration) (rung bool) {
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
