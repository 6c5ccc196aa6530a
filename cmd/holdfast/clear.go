package main

import (
	"errors"

	"holdfast.dev/holdfast"
)

// clearCmd forgets what legs were charged with: through the pool's server, or, if
// it has none, by opening the pool for as long as it takes.
type clearCmd struct {
	Dir string `arg:"" help:"Directory of the pool."`
	Leg string `arg:"" optional:"" help:"The leg, by its path or UUID; left out: every leg."`
}

// Run is called by the parser.
func (cmd clearCmd) Run(c console) error {
	leg, err := absolute(cmd.Leg)
	if err != nil {
		return err
	}
	_, err = askFor(cmd.Dir, request{Op: "clear", Clear: leg}, controlPatience)
	if errors.Is(err, errNotServed) {
		return withStopped(c, cmd.Dir, func(p *holdfast.Pool) error { return p.ClearErrors(leg) })
	}
	return err
}
