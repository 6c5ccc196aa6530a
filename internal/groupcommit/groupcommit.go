// Package groupcommit lets callers who want the same costly thing done share
// it: each is served by one run of the work that began after he asked.
package groupcommit

import (
	"holdfast.dev/holdfast/internal/mutant"
	"holdfast.dev/holdfast/internal/seam"
)

// Group runs one piece of work for many callers, one run at a time. The zero
// Group is not usable: call Init.
type Group struct {
	mu      seam.Mutex
	changed *seam.Cond
	// Guarded by mu. The callers of next wait for running to end.
	running, next *run
	closed        error
}

type run struct {
	done bool
	err  error
}

// Init makes g ready.
func (g *Group) Init() { g.changed = seam.NewCond(&g.mu) }

// Do returns the result of a run of work that began after Do was called. All
// callers of a Group must mean the same work.
func (g *Group) Do(work func() error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r := g.next; r != nil {
		for !r.done {
			g.changed.Wait()
		}
		return r.err
	}
	if r := g.running; r != nil && mutant.On(mutant.FlushJoined) {
		for !r.done {
			g.changed.Wait()
		}
		return r.err
	}
	r := &run{}
	g.next = r
	for g.running != nil {
		g.changed.Wait()
	}
	g.next = nil
	if g.closed != nil {
		g.end(r, g.closed)
		return r.err
	}
	g.serve(r, work)
	return r.err
}

// Try is Do if that takes no waiting, and says whether it is.
func (g *Group) Try(work func() error) (ran bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running != nil || g.next != nil || g.closed != nil {
		return false, nil
	}
	r := &run{}
	g.serve(r, work)
	return true, r.err
}

// serve runs work for those who wait for r. Requires g.mu, which it gives up
// meanwhile, and that nothing runs.
func (g *Group) serve(r *run, work func() error) {
	g.running = r
	g.mu.Unlock()
	err := work()
	g.mu.Lock()
	g.running = nil
	g.end(r, err)
}

// end tells everyone who waits for r what became of it. Requires g.mu.
func (g *Group) end(r *run, err error) {
	r.done, r.err = true, err
	g.changed.Broadcast()
}

// Close waits for the run that is under way, and has every later Do fail with
// err.
func (g *Group) Close(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = err
	for g.running != nil {
		g.changed.Wait()
	}
}

// Waiting says whether a caller waits for a run that has not begun.
func (g *Group) Waiting() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.next != nil
}
