// Package explore runs Holdfast's own code under a scheduler of its own: one task
// at a time, in every order that is worth trying, from one number that stands
// for all of them.
//
// It is built with the tag explore, which puts the scheduler under package seam:
// there the concurrent packages wait, wake, start tasks, tell the time and mark
// the steps whose order matters. The code that is explored is the code that is
// shipped; only who runs next is chosen here.
//
// # How it searches
//
// An execution is a sequence of choices (choice.go): which task runs on, and what
// a scenario leaves open, such as whether the power fails in this write and what
// the disks then still have. Each choice has a default: the task that runs goes
// on, the power holds. A schedule is the list of the choices that were made
// otherwise (schedule.go), so it is short, and replays exactly.
//
// The search (search.go) runs every schedule once, in the order of its
// preemptions: first all that have none, which is every order in which tasks can
// follow each other where they have to wait; then all that have one, two, three.
// Cuts of power and faults are bounded by the scenario. (Iterative context
// bounding: Musuvathi and Qadeer, PLDI 2007.) Beyond the bound it goes on with more
// preemptions where that leads to states that it has not met (past.go), which leaves out
// nine of ten executions with two preemptions and more with each; and it samples by
// probabilistic concurrency testing (pct.go; Burckhardt and others, ASPLOS 2010).
// What is found first is thus found with the fewest preemptions; it is made
// shorter still by leaving out what it does not need (shrink.go).
//
// # What a finding is
//
// A scenario fails (Execution.Fail), code panics, no task can run although not all
// have ended, or an execution does not end in maxSteps. After a finding its tasks
// are left where they stand, for ever: whoever searches ends soon.
//
// # Invariants
//
//  1. One task runs at a time, and it alone touches the Execution.
//  2. The same choices make the same execution: nothing else that differs between
//     two runs, such as the order of a map, an address or the time of day, may
//     decide anything. A replay that meets another step than was recorded says so.
//  3. No schedule is counted twice in a search.
package explore
