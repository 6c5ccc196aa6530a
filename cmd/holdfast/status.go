package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"holdfast.dev/holdfast"
	"holdfast.dev/holdfast/internal/config"
)

// statusCmd says how a pool is: what its server says, or, if it has none, what
// its legs say.
type statusCmd struct {
	Dir  string `arg:"" help:"Directory of the pool."`
	JSON bool   `help:"Print JSON; its field version rises when a field changes its meaning."`
}

// Run is called by the parser. It fails if the pool cannot be used, or something
// is wrong with it.
func (cmd statusCmd) Run(c console) error {
	s, err := cmd.ask()
	if err != nil {
		return err
	}
	if cmd.JSON {
		b, err := json.MarshalIndent(s, "", "  ")
		if err != nil {
			return err
		}
		c.printf("%s\n", b)
	} else {
		c.printf("%s", describe(s))
	}
	if !s.Healthy() {
		return errProblem
	}
	return nil
}

func (cmd statusCmd) ask() (holdfast.Status, error) {
	r, err := ask(cmd.Dir, "status", controlPatience)
	if errors.Is(err, errNotServed) {
		return holdfast.Inspect(cmd.Dir)
	}
	if err != nil {
		return holdfast.Status{}, err
	}
	if r.Status == nil {
		return holdfast.Status{}, fmt.Errorf("the server of %s sent no status", cmd.Dir)
	}
	return *r.Status, nil
}

// describe is the status for people.
func describe(s holdfast.Status) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "pool\t%s (%s)\n", s.Dir, s.Pool)
	state := string(s.State)
	if s.PID != 0 {
		state += fmt.Sprintf(", served by process %d for %v", s.PID, time.Duration(s.Uptime*float64(time.Second)).Round(time.Second))
	}
	fmt.Fprintf(w, "state\t%s\n", state)
	for i, f := range append([]holdfast.Finding{s.Finding}, s.More...) {
		if i > 0 || f.Message != "" {
			fmt.Fprintf(w, "status\t%s\naction\t%s\n", f.Message, f.Action)
		}
	}
	fmt.Fprintf(w, "scrub\t%s\n", describeScrub(&s.Scrub))
	if s.Resync.RegionsLeft > 0 || s.Resync.RegionsDone > 0 {
		fmt.Fprintf(w, "resync\t%s\n", describeResync(&s))
	}
	for _, v := range s.Volumes {
		fmt.Fprintf(w, "volume\t%s, %v, stability %s\n", v.Name, config.Size(v.Size), v.Stability)
	}
	r := &s.Regions
	fmt.Fprintf(w, "regions\t%d of %v, policy %s: %d clean, %d dirty, %d maybe dirty, %d clean candidates\n",
		r.Total, config.Size(s.RegionSize), s.Policy, r.Clean, r.Dirty, r.MaybeDirty, r.CleanCandidate)
	fmt.Fprintf(w, "guards\t%s\n", s.Guards.Kind)
	fmt.Fprintf(w, "journal\t%s\n", describeJournal(&s.Journal, s.State == holdfast.StateStopped))
	if m := s.Cache; m != nil {
		fmt.Fprintf(w, "cache\t%v of %v, %v dirty of %v allowed\n",
			config.Size(m.Resident), config.Size(m.Budget), config.Size(m.Dirty), config.Size(m.DirtyLimit))
		if m.Pinned > 0 || m.Held > 0 {
			fmt.Fprintf(w, "in use\t%v pinned, %v held\n", config.Size(m.Pinned), config.Size(m.Held))
		}
		if m.Unannounced > 0 {
			fmt.Fprintf(w, "changed\t%d pages in memory behind the server's back, by clients that have it mapped\n", m.Unannounced)
		}
	}
	for _, n := range s.NBD {
		fmt.Fprintf(w, "client\t%s on %s since %s, %d requests in flight\n",
			n.Remote, n.Volume, n.Since.Format(time.DateTime), n.InFlight)
	}
	for _, m := range s.Mapped {
		access := "to read"
		if m.Writable {
			access = "to write"
		}
		if m.Async {
			access += ", stores not announced"
		}
		fmt.Fprintf(w, "mapped\tby process %d of user %d: %v of %s at %d, %s\n",
			m.PID, m.UID, config.Size(m.Length), m.Volume, m.Off, access)
	}
	w.Flush()
	b.WriteString("\n")
	return b.String() + describeLegs(s) + "\n" + describeErrors(&s) + "\n"
}

// describeErrors says what is known to be wrong with the data itself.
func describeErrors(s *holdfast.Status) string {
	switch scrub, journal := s.Scrub.Lost, s.Journal.Lost; {
	case scrub > 0:
		return fmt.Sprintf("errors  %d blocks are lost", scrub)
	case journal > 0:
		return fmt.Sprintf("errors  %d blocks or more were lost with the journal", journal)
	}
	return "errors  no known data errors"
}

// describeJournal says what the journal holds, and what came of it.
func describeJournal(j *holdfast.JournalStatus, stopped bool) string {
	switch {
	case j.Size == 0:
		return "none"
	case stopped && j.Replayed > 0:
		return fmt.Sprintf("%v, with %d blocks that are not at home", config.Size(j.Size), j.Replayed)
	case stopped:
		return fmt.Sprintf("%v, empty", config.Size(j.Size))
	}
	text := fmt.Sprintf("%v of %v, %s: %d blocks of it not at home, %d transactions, %d checkpoints",
		config.Size(j.Used), config.Size(j.Size), j.Mode, j.Blocks, j.Transactions, j.Checkpoints)
	if j.Replayed > 0 {
		text += fmt.Sprintf(", %d blocks replayed", j.Replayed)
	}
	if j.Lost > 0 {
		text += fmt.Sprintf(", %d lost", j.Lost)
	}
	if j.Broken != "" {
		text += ", to be emptied first: " + j.Broken
	}
	return text
}
