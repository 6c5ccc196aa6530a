package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// contestant is who takes turns in an experiment.
type contestant struct {
	name string
	turn func(ctx context.Context, round int) (figures, error)
}

// experiment is what contestants are compared in.
type experiment struct {
	name        string
	contestants []contestant
}

// stage sets up what several experiments share.
type stage struct {
	name string
	// names are those of its experiments, so that a stage of which none is wanted
	// is not set up.
	names []string
	// open returns the experiments, set up in the host, whose end tears them down.
	open func(r *runner, h *host) ([]experiment, error)
}

// runner runs what is wanted, and keeps what it gave.
type runner struct {
	o        options
	progress io.Writer
	result   *result
}

// wanted says whether any of these experiments is.
func (r *runner) wanted(names []string) bool {
	for _, n := range names {
		if r.o.only.MatchString(n) {
			return true
		}
	}
	return false
}

// leaveOut notes what cannot be measured here.
func (r *runner) leaveOut(what, why string) {
	for _, o := range r.result.LeftOut {
		if o.What == what && o.Why == why {
			return
		}
	}
	fmt.Fprintf(r.progress, "bench: left out: %s: %s\n", what, why)
	r.result.LeftOut = append(r.result.LeftOut, omission{what, why})
}

// fail notes what should have been measured and was not. The rest goes on.
func (r *runner) fail(what string, err error) {
	fmt.Fprintf(r.progress, "bench: FAILED: %s: %v\n", what, err)
	r.result.Failures = append(r.result.Failures, omission{what, err.Error()})
}

// stage runs the experiments of a stage that are wanted. Its error says that the
// whole run is over.
func (r *runner) stage(h *host, s stage) error {
	sub, err := h.sub(s.name)
	if err != nil {
		return err
	}
	defer func() {
		if err := sub.close(); err != nil {
			r.fail("cleaning up after "+s.name, err)
		}
	}()
	fmt.Fprintf(r.progress, "bench: %s\n", s.name)
	all, err := s.open(r, sub)
	if h.ctx.Err() != nil {
		return h.ctx.Err()
	}
	if err != nil {
		r.fail(s.name, err)
		return nil
	}
	for _, e := range all {
		if r.o.only.MatchString(e.name) {
			if err := r.run(h.ctx, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// run has the contestants of e take their turns. One that fails is out of it; so
// is, in a quick run, one of whom no bar speaks.
func (r *runner) run(ctx context.Context, e experiment) error {
	began := time.Now()
	out := map[string]bool{}
	for _, c := range e.contestants {
		out[c.name] = r.o.quick && !needed(e.name, c.name)
	}
	for round := range r.o.rounds {
		for i := range e.contestants {
			// Each round another begins, so that what one leaves behind does not always
			// meet the same.
			c := e.contestants[(i+round)%len(e.contestants)]
			if out[c.name] {
				continue
			}
			f, err := c.turn(ctx, round)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				r.fail(e.name+": "+c.name, err)
				out[c.name] = true
				continue
			}
			r.result.Samples = append(r.result.Samples, sample{e.name, c.name, round, f})
		}
	}
	fmt.Fprintf(r.progress, "bench:   %s (%v)\n", e.name, time.Since(began).Round(100*time.Millisecond))
	return nil
}
