// Command holdfast makes, serves and inspects pools.
//
// It exits with 0 if it did what was asked, 1 if it could not or found a
// problem, and 2 if it was asked in a way that it does not understand. An error
// is one line that begins with "holdfast:".
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"holdfast.dev/holdfast"
)

// The exit statuses.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// commands is the command line; each verb has a file of its own.
type commands struct {
	Create  createCmd  `cmd:"" help:"Make a pool: its legs, a volume, and holdfast.toml."`
	Serve   serveCmd   `cmd:"" help:"Serve a pool's volumes over NBD until a signal comes."`
	Up      upCmd      `cmd:"" help:"Serve a pool, making a small one first if there is none, and say how to use it."`
	Status  statusCmd  `cmd:"" help:"Say how a pool is."`
	Leg     legCmd     `cmd:"" help:"List, fail, attach, replace, add and remove a pool's legs."`
	Scrub   scrubCmd   `cmd:"" help:"Check everything on every leg of a served pool, and heal what does not fit."`
	Resync  resyncCmd  `cmd:"" help:"Say how far the legs are made equal, or how much time that may take."`
	Clear   clearCmd   `cmd:"" help:"Forget what legs were charged with."`
	Events  eventsCmd  `cmd:"" help:"Say what happened to a pool, oldest first."`
	Flush   flushCmd   `cmd:"" help:"Make everything durable that was written to a served pool."`
	Check   checkCmd   `cmd:"" help:"Check a pool that is not being served: superblocks, region log, and that the legs are equal."`
	Version versionCmd `cmd:"" help:"Say which release this is."`
}

// console is where a command writes.
type console struct{ out, err io.Writer }

func (c console) printf(format string, args ...any) { fmt.Fprintf(c.out, format, args...) }

func main() {
	holdfast.RunGuardian()
	os.Exit(run(os.Args[1:], console{os.Stdout, os.Stderr}))
}

// exited is what a parser that printed help throws to get out.
type exited int

// run is the whole program; it returns its exit status.
func run(args []string, c console) (status int) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case exited:
			status = int(v)
		default:
			panic(v)
		}
	}()
	parser, err := kong.New(&commands{},
		kong.Name("holdfast"),
		kong.Description("A mirrored block volume in user space, behind a page cache whose pages hold still while they are written."),
		kong.Writers(c.out, c.err),
		kong.Exit(func(code int) { panic(exited(code)) }),
		kong.Bind(c),
	)
	if err != nil {
		return c.fail(err, exitFailure)
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		return c.fail(fmt.Errorf("%w; holdfast --help lists what there is", err), exitUsage)
	}
	err = ctx.Run()
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errProblem):
		return exitFailure
	case errors.As(err, &usage):
		return c.fail(err, exitUsage)
	}
	return c.fail(err, exitFailure)
}

// usageError is a fault of the command line that only its command can see.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// errProblem is returned by a command that has already said what is wrong.
var errProblem = errors.New("a problem was found")

// fail prints err on one line.
func (c console) fail(err error, status int) int {
	fmt.Fprintln(c.err, "holdfast:", oneLine(err))
	return status
}

// oneLine puts what errors.Join sets on lines of their own on one.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
