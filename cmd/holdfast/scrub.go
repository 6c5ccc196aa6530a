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
	Share float64 `help:"Which part of the time may be spent on it, above 0 up to 1; left out: what holdfast.toml says."`
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
		if !s.Scrub.Active() {
			c.printf("%s\n", describeScrub(&s.Scrub))
			if s.Scrub.State != holdfast.ScrubDone || s.Scrub.Bad > s.Scrub.Healed {
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
	if s.CheckOnly {
		found = fmt.Sprintf("%d blocks bad, none healed as it only checks, %d lost", s.Bad, s.Lost)
	}
	place := fmt.Sprintf("%v of %v", config.Size(s.Done), config.Size(s.Total))
	switch {
	case s.State == holdfast.ScrubNone || s.State == "":
		return "none yet"
	case s.Active():
		return fmt.Sprintf("%s: %s, %s, %s", s.State, place, describeRate(s.Rate, s.SecondsLeft), found)
	case s.State == holdfast.ScrubInterrupted:
		return fmt.Sprintf("interrupted: %s, %s; it goes on when the pool is served", place, found)
	case s.State == holdfast.ScrubDone:
		return fmt.Sprintf("done at %s after %v, %s", s.Ended.Format(time.DateTime), inSeconds(s.Took), found)
	}
	return fmt.Sprintf("%s at %s after %s, %s", s.State, s.Ended.Format(time.DateTime), place, found)
}
