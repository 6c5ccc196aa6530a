//go:build explore

package explore

import "strings"

// past is what has happened in an execution, as a number that does not depend on the
// order of what does not depend on each other: two executions that have the same past
// are in the same state. (Happens-before fingerprints: Musuvathi and Qadeer, PLDI
// 2007.)
//
// What a task does from one step to the next counts as one access to the object that
// the step names, and depends on what the task did before and on the access before to
// that object. A wake-up depends on who wakes, and a lock on who gave it back. All
// accesses count as changes, which is more than need be.
//
// It is as good as the names: what tasks share and no step names, such as a counter that
// is read without a lock, is not in it. So it never decides what is tried up to the
// bound of a search, only where the search goes on beyond it; and how often two
// executions with the same past went on otherwise is counted (Result.Unlike).
type past struct {
	sum     uint64
	objects map[any]uint64
}

func newPast() past { return past{objects: make(map[any]uint64)} }

// Disks is the object that all simulated disks are (package powercut).
const Disks = "powercut"

// object is what a step is about, if it is not a lock.
type object struct {
	floor string
	arg   uint64
}

// objectOf names it: a page, a region, a place. All disks are one object, for a cut of
// power concerns all; and what a process does to a page it does to the page.
func objectOf(where string, arg uint64) any {
	switch floor, _, _ := strings.Cut(where, "."); floor {
	case Disks:
		return Disks
	case "process":
		return object{"cache", arg}
	default:
		return object{floor, arg}
	}
}

// happens adds an access that a task makes.
func (p *past) happens(t *task, on any, arg uint64) {
	t.past = mix(mix(t.past, p.objects[on]), arg+1)
	p.objects[on] = t.past
	p.sum += t.past
}

// releases has what comes after it at an object depend on what the task has done.
func (p *past) releases(t *task, on any) { p.objects[on] = mix(p.objects[on], t.past) }

// follows says that t goes on because of what another has done.
func (p *past) follows(t, cause *task) {
	t.past = mix(mix(t.past, cause.past), uint64(t.id)+1)
	p.sum += t.past
}

// decides adds a choice that is not one of tasks.
func (p *past) decides(t *task, kind Kind, took int) {
	t.past = mix(t.past, uint64(kind)<<8|uint64(took)+1)
	p.sum += t.past
}

// at is the past at a choice of task t.
func (p *past) at(t *task) uint64 { return mix(p.sum, uint64(t.id)) }

// mix is a hash of two numbers (the finalizer of SplitMix64).
func mix(a, b uint64) uint64 {
	h := a*0x9e3779b97f4a7c15 + b
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
