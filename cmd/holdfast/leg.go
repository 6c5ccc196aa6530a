package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"holdfast.dev/holdfast"
)

// legCmd changes which copies a pool has: through its server, or, if it has none,
// by opening the pool for as long as it takes.
type legCmd struct {
	List    legListCmd    `cmd:"" help:"List a pool's legs and how they are."`
	Fail    legFailCmd    `cmd:"" help:"Take a leg out of use. What it misses is remembered."`
	Attach  legAttachCmd  `cmd:"" help:"Bring a failed leg back; what it misses is copied to it."`
	Replace legReplaceCmd `cmd:"" help:"Put another device in the place of a failed leg, and fill it."`
	Add     legAddCmd     `cmd:"" help:"Make a device or file a further leg, and fill it."`
	Remove  legRemoveCmd  `cmd:"" help:"Take a leg out of the pool for good."`
}

// oneLeg is what most of them are told.
type oneLeg struct {
	Dir string `arg:"" help:"Directory of the pool."`
	Leg string `arg:"" help:"The leg: its path, or its UUID."`
}

type legListCmd struct {
	Dir string `arg:"" help:"Directory of the pool."`
}

// Run is called by the parser.
func (cmd legListCmd) Run(c console) error {
	s, err := statusCmd{Dir: cmd.Dir}.ask()
	if err != nil {
		return err
	}
	c.printf("%s", describeLegs(s))
	return nil
}

// describeLegs is a table of the legs.
func describeLegs(s holdfast.Status) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "LEG\tSTATE\tREAD\tWRITE\tCKSUM\tTIMEOUT\tUUID\n")
	for _, l := range s.Legs {
		state := l.State
		if l.RegionsLeft > 0 {
			state += fmt.Sprintf(", %d regions left", l.RegionsLeft)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%s\n",
			l.Name, state, l.ReadErrors, l.WriteErrors, l.ChecksumErrors, l.Timeouts, l.UUID)
	}
	w.Flush()
	return b.String()
}

type legFailCmd struct{ oneLeg }

// Run is called by the parser.
func (cmd legFailCmd) Run(c console) error {
	return changeLegs(c, cmd.Dir, legRequest{Verb: "fail", Leg: cmd.Leg})
}

type legAttachCmd struct {
	oneLeg
	Force bool `help:"Attach it although it went on without the others; what only it holds is lost."`
}

// Run is called by the parser.
func (cmd legAttachCmd) Run(c console) error {
	return changeLegs(c, cmd.Dir, legRequest{Verb: "attach", Leg: cmd.Leg, Force: cmd.Force})
}

type legReplaceCmd struct {
	oneLeg
	New string `arg:"" optional:"" help:"Path of the device or file to take its place; left out: the same, filled anew."`
}

// Run is called by the parser.
func (cmd legReplaceCmd) Run(c console) error {
	return changeLegs(c, cmd.Dir, legRequest{Verb: "replace", Leg: cmd.Leg, Path: cmd.New})
}

type legAddCmd struct {
	Dir string `arg:"" help:"Directory of the pool."`
	New string `arg:"" help:"Path of the device, or of a file, which is made if there is none."`
}

// Run is called by the parser.
func (cmd legAddCmd) Run(c console) error {
	return changeLegs(c, cmd.Dir, legRequest{Verb: "add", Path: cmd.New})
}

type legRemoveCmd struct{ oneLeg }

// Run is called by the parser.
func (cmd legRemoveCmd) Run(c console) error {
	return changeLegs(c, cmd.Dir, legRequest{Verb: "remove", Leg: cmd.Leg})
}

// legRequest is a change to a pool's legs, as the control socket carries it.
type legRequest struct {
	Verb string `json:"verb"`
	// Leg is the one that is meant, Path a device; both as the server finds them.
	Leg   string `json:"leg,omitempty"`
	Path  string `json:"path,omitempty"`
	Force bool   `json:"force,omitempty"`
}

// changeLegs asks the server of the pool in dir, or does it.
func changeLegs(c console, dir string, r legRequest) (err error) {
	if r.Leg, err = absolute(r.Leg); err != nil {
		return err
	}
	if r.Path != "" {
		if r.Path, err = filepath.Abs(r.Path); err != nil {
			return err
		}
	}
	_, err = askFor(dir, request{Op: "leg", Leg: &r}, 0)
	if errors.Is(err, errNotServed) {
		err = withStopped(c, dir, r.do)
	}
	if err != nil {
		return err
	}
	switch r.Verb {
	case "attach", "replace", "add":
		c.printf("%s is joining; see how far it is with: holdfast status %s\n", cmp.Or(r.Path, r.Leg), shellQuote(dir))
	}
	return nil
}

// absolute makes a path mean the same to the server. What is no file here may be
// a UUID, or named as holdfast.toml does.
func absolute(leg string) (string, error) {
	if _, err := os.Lstat(leg); leg == "" || err != nil {
		return leg, nil
	}
	return filepath.Abs(leg)
}

// withStopped opens a pool that nobody has open, does something to it, and closes it.
func withStopped(c console, dir string, do func(*holdfast.Pool) error) error {
	pool, err := holdfast.Open(dir, holdfast.Options{Log: slog.New(slog.NewTextHandler(c.err, nil))})
	if err != nil {
		return err
	}
	return errors.Join(do(pool), pool.Close())
}

func (r *legRequest) do(pool *holdfast.Pool) error {
	switch r.Verb {
	case "fail":
		return pool.FailLeg(r.Leg)
	case "attach":
		return pool.AttachLeg(r.Leg, r.Force)
	case "replace":
		return pool.ReplaceLeg(r.Leg, r.Path)
	case "add":
		return pool.AddLeg(r.Path)
	case "remove":
		return pool.RemoveLeg(r.Leg)
	}
	return fmt.Errorf("unknown change of legs %q", r.Verb)
}
