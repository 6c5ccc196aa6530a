//go:build explore

package explore

// Kind says what a choice is about. It decides what the choice costs.
type Kind uint8

const (
	// Preempt is which task goes on at a step, where the one that runs could.
	Preempt Kind = iota
	// Switch is which task goes on where the one that ran has to wait or has ended.
	Switch
	// Data is anything that a scenario leaves open, all of which is tried.
	Data
	// Cut is whether the power fails in an operation of a disk.
	Cut
	// Fault is whether an operation of a device fails.
	Fault
	kinds
)

// bounds are how many choices of each kind a schedule may make otherwise than by
// default; a negative number is no bound.
type bounds [kinds]int

// point is a choice that an execution met: option took of n, 0 being the default.
type point struct {
	past uint64 // of the execution until then
	kind Kind
	n    uint8
	took uint8
}

// maxOptions keeps an option in a byte. Scenarios have few tasks, and leave few
// things open.
const maxOptions = 255

// chooser makes an execution's choices: option 0 to n-1 of the choice that comes
// next, which concerns the tasks given if it is one of who goes on.
type chooser interface {
	choose(at int, kind Kind, n int, who []*task) int
}

// deviation is a choice that is made otherwise than by default.
type deviation struct {
	at   uint32 // which choice of the execution
	took uint8
}

// plan chooses as a schedule says, and by default what it does not mention.
type plan struct {
	deviations []deviation
	next       int
}

func (p *plan) choose(at int, _ Kind, n int, _ []*task) int {
	if p.next == len(p.deviations) || p.deviations[p.next].at != uint32(at) {
		return 0
	}
	took := int(p.deviations[p.next].took)
	if took >= n {
		return 0 // it fits no execution of this code: unmet says so
	}
	p.next++
	return took
}

// unmet says whether the execution has ended without a choice that the schedule
// makes.
func (p *plan) unmet() bool { return p.next < len(p.deviations) }
