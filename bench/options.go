package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"holdfast.dev/holdfast/internal/config"
)

const (
	// fullRounds is how often all take their turn: the fewest of which a median
	// and quartiles mean something.
	fullRounds = 5
	// quickRounds is the fewest that has a median which is no mean of extremes.
	quickRounds = 3
	// leastSize is the smallest volume: a fourth of it is the smallest cache.
	leastSize = 64 << 20
)

// options say what is measured, and how long.
type options struct {
	args     []string
	out      string         // folder of the report
	dir      string         // folder for what is served; empty: under out
	holdfast string         // path of the binary
	only     *regexp.Regexp // of the names of experiments
	peers    *regexp.Regexp // of the names of peers and variants
	rounds   int
	runtime  time.Duration // of one turn
	size     int64         // of a volume, in bytes
	quick    bool
	apart    bool // clients and servers keep to processors of their own
}

// parseOptions reads the command line.
func parseOptions(args []string, stderr io.Writer) (options, error) {
	o := options{args: args}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	only := f.String("only", "", "measure only what matches this regular `expression`")
	peers := f.String("peers", "", "compare with peers and variants that match this regular `expression` only")
	size := config.Size(0)
	f.TextVar(&size, "size", size, "`size` of each volume (1GiB; 256MiB if quick)")
	f.StringVar(&o.out, "out", filepath.Join("build", "bench"), "`folder` of the report")
	f.StringVar(&o.dir, "dir", "", "`folder` for files of peers and legs, removed afterwards (a folder under -out)")
	f.StringVar(&o.holdfast, "holdfast", "./holdfast", "`path` of the holdfast to measure")
	f.IntVar(&o.rounds, "rounds", 0, "how often each takes its turn (5; 3 if quick)")
	f.DurationVar(&o.runtime, "runtime", 0, "how long a turn is (2s; 400ms if quick)")
	f.BoolVar(&o.quick, "quick", false, "measure what the bars need and little else, in under three minutes")
	f.BoolVar(&o.apart, "apart", false, "keep clients to the first processor, and servers to the others")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("%q is no flag; -help lists them", f.Arg(0))
	}
	o.size = int64(size)
	o.ensureDefaults()
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("-only: %w", err)
	}
	if o.peers, err = regexp.Compile(*peers); err != nil {
		return o, fmt.Errorf("-peers: %w", err)
	}
	return o, o.validate()
}

func (o *options) ensureDefaults() {
	rounds, turn, size := fullRounds, 2*time.Second, int64(1<<30)
	if o.quick {
		rounds, turn, size = quickRounds, 400*time.Millisecond, 256<<20
	}
	if o.rounds == 0 {
		o.rounds = rounds
	}
	if o.runtime == 0 {
		o.runtime = turn
	}
	if o.size == 0 {
		o.size = size
	}
	if o.dir == "" {
		o.dir = o.out
	}
}

func (o *options) validate() error {
	var all []error
	if o.rounds < 1 {
		all = append(all, fmt.Errorf("-rounds: at least 1, not %d", o.rounds))
	}
	if o.runtime < 100*time.Millisecond {
		all = append(all, fmt.Errorf("-runtime: the processors' clock has ticks of 10ms; at least 100ms, not %v", o.runtime))
	}
	if o.size < leastSize || o.size%(4<<20) != 0 {
		all = append(all, fmt.Errorf("-size: a multiple of 4MiB from %v, not %v", config.Size(leastSize), config.Size(o.size)))
	}
	if o.apart && runtime.NumCPU() < 2 {
		all = append(all, errors.New("-apart: there is one processor only"))
	}
	path, err := filepath.Abs(o.holdfast)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		all = append(all, fmt.Errorf("-holdfast: %w; make build makes it", err))
	}
	o.holdfast = path
	return errors.Join(all...)
}

// command is how this run was asked for.
func (o *options) command() string {
	return strings.Join(append([]string{"go run ./bench"}, o.args...), " ")
}
