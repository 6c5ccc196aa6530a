//go:build explore

package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/alecthomas/kong"

	"holdfast.dev/holdfast/explore"
	"holdfast.dev/holdfast/explore/scenario"
	"holdfast.dev/holdfast/internal/mutant"
)

// The exit statuses.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// options is the command line.
type options struct {
	Scenario string `help:"Only this scenario." placeholder:"NAME"`
	Mutant   string `help:"Look for this mutant, and tell its story." placeholder:"NAME"`
	Replay   string `help:"Run one schedule, as it was printed, and tell its story." placeholder:"SCHEDULE"`
	List     bool   `help:"List the scenarios and the mutants."`

	Preemptions int           `help:"Try everything with up to so many preemptions." default:"2"`
	More        int           `help:"How many executions of each scenario go beyond that." default:"28000"`
	Seed        uint64        `help:"What chooses those; 0 is another each time." default:"0"`
	Limit       time.Duration `help:"Give a search up after so long." default:"10m"`
	Jobs        int           `help:"How many searches run side by side; 0 is one for each processor." default:"0"`
	Least       int           `help:"Fail unless at least so many schedules are tried of the code as it is." default:"0"`
	Stories     bool          `help:"Tell the story of every mutant."`
	JSON        bool          `help:"Print results as JSON, one to a line." name:"json"`
	Search      bool          `hidden:"" help:"Search here, and print results as JSON."`
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the whole program; it returns its exit status.
func run(args []string, out, errs io.Writer) int {
	var o options
	usage := func(err error) int {
		fmt.Fprintf(errs, "explore: %v; --list and --help say what there is\n", err)
		return exitUsage
	}
	parser, err := kong.New(&o, kong.Name("explore"), kong.Writers(out, errs),
		kong.Description("Runs Holdfast's own code under a scheduler, in every order that is worth trying, and shows that it finds old mistakes."))
	if err != nil {
		return usage(err)
	}
	if _, err := parser.Parse(args); err != nil {
		return usage(err)
	}
	if o.Seed == 0 {
		o.Seed = uint64(time.Now().UnixNano())
	}
	switch {
	case o.List:
		list(out)
		return exitOK
	case o.Replay != "":
		return replay(&o, out, usage)
	}
	jobs, err := o.jobs()
	if err != nil {
		return usage(err)
	}
	if o.Search {
		return search(&o, jobs, out)
	}
	return hunt(&o, jobs, out, errs)
}

// replay runs one schedule.
func replay(o *options, out io.Writer, usage func(error) int) int {
	schedule, err := explore.ParseSchedule(o.Replay)
	if err != nil {
		return usage(err)
	}
	for _, x := range []struct{ what, asked, is string }{{"scenario", o.Scenario, schedule.Scenario}, {"mutant", o.Mutant, schedule.Mutant}} {
		if x.asked != "" && x.asked != x.is {
			return usage(fmt.Errorf("%w: it is one of %s %q, not %q", explore.ErrSchedule, x.what, x.is, x.asked))
		}
	}
	s := scenario.Named(schedule.Scenario)
	if s == nil {
		return usage(fmt.Errorf("%w: there is no scenario %q here", explore.ErrSchedule, schedule.Scenario))
	}
	if err := mutant.Switch(schedule.Mutant); err != nil {
		return usage(fmt.Errorf("%w: %w", explore.ErrSchedule, err))
	}
	runtime.GOMAXPROCS(1)
	found, story, err := explore.Replay(s, schedule)
	fmt.Fprint(out, story)
	if err != nil {
		return usage(err)
	}
	if found != nil {
		fmt.Fprint(out, found.Stack)
		return exitFailure
	}
	return exitOK
}

func list(out io.Writer) {
	fmt.Fprintln(out, "Scenarios:")
	for _, s := range scenario.All() {
		fmt.Fprintf(out, "  %-22s %s\n", s.Name, s.Story)
	}
	fmt.Fprintln(out, "\nMutants:")
	for _, m := range mutant.All {
		fmt.Fprintf(out, "  %-22s %s: %s\n", m.Name, m.Mistake, m.Breaks)
	}
}
