package main

import (
	"fmt"
	"time"

	"holdfast.dev/holdfast"
	"holdfast.dev/holdfast/internal/config"
)

// scrubPoll is how often a scrub that is waited for is asked how far it is.
const scrubPoll = 200 * time.Millisecond

// scrubCmd has a served pool read and checked from end to end.
type scrubCmd struct {
	Dir   string  `arg:"" help:"Directory of the pool."`
	Check bool    `help:"Only count what is wrong, and heal nothing."`
	Wait  bool    `help:"Wait for its end; fail if something was wrong."`
	Stop  bool    `help:"Stop the scrub that is under way."`
	Share float64 `default:"0.5" help:"Which part of the time may be spent on it, above 0 up to 1 (${default})."`
}

// Run is called by the parser.
func (cmd scrubCmd) Run(c console) error {
	op := "scrub"
	if cmd.Stop {
		op = "scrub-stop"
	}
	if _, err := askFor(cmd.Dir, request{Op: op, Scrub: &scrubRequest{cmd.Check, cmd.Share}}, controlPatience); err != nil {
		return err
	}
	if !cmd.Wait || cmd.Stop {
		return nil
	}
	for {
		s, err := statusCmd{Dir: cmd.Dir}.ask()
		if err != nil {
			return err
		}
		if s.Scrub.State != "running" {
			c.printf("%s\n", describeScrub(&s.Scrub))
			if s.Scrub.State != "done" || s.Scrub.Bad > s.Scrub.Healed {
				return errProblem
			}
			return nil
		}
		time.Sleep(scrubPoll)
	}
}

// scrubRequest is what the control socket carries of it.
type scrubRequest struct {
	CheckOnly bool    `json:"check_only"`
	Share     float64 `json:"share"`
}

func (r *scrubRequest) do(p *holdfast.Pool) error { return p.StartScrub(r.CheckOnly, r.Share) }

// describeScrub says how far a scrub is, or what it found.
func describeScrub(s *holdfast.ScrubStatus) string {
	found := fmt.Sprintf("%d blocks bad, %d healed, %d lost", s.Bad, s.Healed, s.Lost)
	if s.State != "running" {
		return fmt.Sprintf("%s at %s, %s", s.State, s.Ended.Format(time.DateTime), found)
	}
	left := "time left unknown"
	if s.Rate > 0 {
		took := time.Duration(float64(s.Total-s.Done) / float64(s.Rate) * float64(time.Second))
		left = fmt.Sprintf("%v a second, about %v left", config.Size(s.Rate), took.Round(time.Second))
	}
	return fmt.Sprintf("running: %v of %v, %s, %s", config.Size(s.Done), config.Size(s.Total), left, found)
}
