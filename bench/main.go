// Command bench measures Holdfast and the servers that people use today side by
// side, in one run, and says for each bar that is set for Holdfast whether it is
// met.
//
// What is compared takes turns (A B A B), because a machine is never the same
// twice: the ratio of two figures taken a second apart says more than either. A
// ratio is formed within a round, and of the ratios of all rounds the median and
// the spread are told.
//
// # How it is put together
//
// A stage (stages.go) sets up what several experiments share, such as running
// servers whose volumes are in memory. An experiment has contestants, which take
// their turns round after round (runner.go); each turn gives figures. The jobs
// (jobs.go) and the bars (bars.go) are data. What a machine lacks is named as left
// out, never passed over.
//
// # What it leaves behind
//
// Nothing but the report. Servers die with this process, however it ends
// (Pdeathsig); file systems are mounted in name spaces of their servers, and so go
// with them; files are removed on the way out, also after SIGINT.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"holdfast.dev/holdfast"
)

// The exit statuses.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	holdfast.RunGuardian()
	if runChild() {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run is the whole program; it returns its exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return exitUsage
	}
	result, err := measure(ctx, o, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return exitFailure
	}
	if err := result.save(o.out); err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return exitFailure
	}
	io.WriteString(stdout, result.markdown())
	fmt.Fprintf(stderr, "bench: the report is in %s\n", o.out)
	if len(result.Failures) > 0 {
		return exitFailure
	}
	return exitOK
}

// measure runs every stage that is asked for, and removes what it made.
func measure(ctx context.Context, o options, progress io.Writer) (_ *result, err error) {
	h, err := newHost(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	r := &runner{o: o, progress: progress, result: newResult(o)}
	for _, s := range stages() {
		if !r.wanted(s.names) {
			continue
		}
		if err := r.stage(h, s); err != nil {
			return nil, err
		}
	}
	r.result.judge()
	return r.result, nil
}
