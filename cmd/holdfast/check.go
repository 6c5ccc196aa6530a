package main

import (
	"holdfast.dev/holdfast"
	"holdfast.dev/holdfast/internal/config"
)

// checkCmd checks a pool offline.
type checkCmd struct {
	Dir string `arg:"" help:"Directory of the pool; it must not be served meanwhile."`
}

// Run is called by the parser. It fails unless the pool is sound.
func (cmd checkCmd) Run(c console) error {
	r, err := holdfast.Check(cmd.Dir)
	if err != nil {
		return err
	}
	for _, p := range r.Problems {
		c.printf("problem: %s\n", p)
	}
	if r.Unlisted > 0 {
		c.printf("problem: %d more of the kind\n", r.Unlisted)
	}
	for _, n := range r.Notes {
		c.printf("note: %s\n", n)
	}
	c.printf("%s: compared %v, %d of %d regions are dirty\n", cmd.Dir, config.Size(r.BytesCompared), r.DirtyRegions, r.Regions)
	if !r.Sound() {
		c.printf("%s: NOT SOUND: %d problems\n", cmd.Dir, len(r.Problems)+r.Unlisted)
		return errProblem
	}
	c.printf("%s: sound\n", cmd.Dir)
	return nil
}
