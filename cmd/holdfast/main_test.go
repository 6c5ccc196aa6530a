package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"holdfast.dev/holdfast"
	"holdfast.dev/holdfast/attach"
)

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"holdfast": main})
}

// leakChecked fails a test run that leaves goroutines behind.
type leakChecked struct{ *testing.M }

func (m leakChecked) Run() int {
	if status := m.M.Run(); status != 0 {
		return status
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestScripts runs the stories in testdata, each in a directory of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			// The race detector makes every program that ends wait for a second.
			e.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"run":       cmdRun,
			"served":    cmdServed,
			"scrubbing": cmdScrubbing,
			"told":      cmdTold,
			"signal":    cmdSignal,
			"interrupt": cmdInterrupt,
			"poke":      cmdPoke,
			"truncate":  cmdTruncate,
			"occupy":    cmdOccupy,
			"lines":     cmdLines,
			"guarded":   cmdGuarded,
		},
	})
}

// cmdRun does "run STATUS ARG...": it runs holdfast and fails unless it exits so.
func cmdRun(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: run STATUS [ARG...]")
	}
	err := ts.Exec("holdfast", args[1:]...)
	status := 0
	if e := (*exec.ExitError)(nil); errors.As(err, &e) {
		status = e.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(status) != args[0] {
		ts.Fatalf("it exits with %d, not %s", status, args[0])
	}
}

// patience bounds what would otherwise hang; no test relies on its length.
const patience = time.Minute

// cmdServed does "served DIR [STATE]": it waits until the pool in DIR is served,
// and is in that state.
func cmdServed(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		r, err := ask(dir, "status", controlPatience)
		if err == nil && (len(args) == 1 || string(r.Status.State) == args[1]) {
			return
		}
		if time.Since(begin) > patience {
			ts.Fatalf("%+v, %v", r.Status, err)
		}
	}
}

// cmdScrubbing does "scrubbing DIR BYTES": it waits until a scrub is under way, has
// done as much more than it had when the command began, and that is written down.
func cmdScrubbing(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	bytes, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	first := int64(-1)
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		r, err := ask(dir, "status", controlPatience)
		if err == nil && r.Status.Scrub.Active() {
			if first < 0 {
				first = r.Status.Scrub.Done
			}
			var kept struct{ Scrub holdfast.ScrubStatus }
			b, err := os.ReadFile(filepath.Join(dir, "state.json"))
			if err == nil && json.Unmarshal(b, &kept) == nil && kept.Scrub.Done >= first+bytes {
				return
			}
		}
		if time.Since(begin) > patience {
			ts.Fatalf("%+v, %v", r.Status, err)
		}
	}
}

// cmdTold does "told DIR KIND": it waits until an event of that kind is kept.
func cmdTold(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for e, err := range holdfast.Events(ctx, ts.MkAbs(args[0]), true) {
		ts.Check(err)
		if e.Kind == args[1] {
			return
		}
	}
	ts.Fatalf("no %s is told of", args[1])
}

// cmdInterrupt sends SIGINT to what runs in the background under a name, as Ctrl-C
// does, when it has nothing left to say.
func cmdInterrupt(ts *testscript.TestScript, _ bool, args []string) {
	time.Sleep(time.Second) // longer than it waits before it looks again
	for _, c := range ts.BackgroundCmds() {
		if slices.Contains(c.Args, args[0]) {
			ts.Check(c.Process.Signal(os.Interrupt))
		}
	}
}

// cmdSignal sends "signal TERM|INT DIR" to the process that holds DIR's lock.
func cmdSignal(ts *testscript.TestScript, _ bool, args []string) {
	signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT}
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(filepath.Join(args[1], "lock"))))
	ts.Check(err)
	ts.Check(syscall.Kill(pid, signals[args[0]]))
}

// cmdPoke writes "poke FILE OFFSET TEXT"; a negative offset counts from the end.
func cmdPoke(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_WRONLY, 0)
	ts.Check(err)
	defer f.Close()
	off, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	if off < 0 {
		st, err := f.Stat()
		ts.Check(err)
		off += st.Size()
	}
	_, err = f.WriteAt([]byte(args[2]), off)
	ts.Check(err)
}

// cmdTruncate does "truncate FILE SIZE".
func cmdTruncate(ts *testscript.TestScript, _ bool, args []string) {
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_WRONLY|os.O_CREATE, 0o600)
	ts.Check(err)
	ts.Check(errors.Join(f.Truncate(size), f.Close()))
}

// cmdOccupy listens on a free TCP port until the script ends and puts its
// address in the named variable.
func cmdOccupy(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[0], l.Addr().String())
}

// cmdGuarded does "guarded DIR SIGNAL": it maps a volume of the pool in DIR, looks
// for the guardian, sends the signal to the server, and waits for the guardian to
// end. It ignores SIGTERM, to which the server listens.
func cmdGuarded(ts *testscript.TestScript, _ bool, args []string) {
	pid := strings.TrimSpace(ts.ReadFile(filepath.Join(args[0], "lock")))
	c, err := attach.Open(context.Background(), filepath.Join(ts.MkAbs(args[0]), "attach.sock"))
	if err == nil {
		_, err = c.Map("main", 0, 0, attach.ReadWrite)
	}
	if errors.Is(err, fs.ErrNotExist) || err != nil && strings.Contains(err.Error(), "userfaultfd") {
		ts.Logf("this kernel cannot map volumes into other processes: %v", err)
		return
	}
	ts.Check(err)
	defer c.Close()
	found, err := exec.Command("pgrep", "-f", "^[^ ]*holdfast guardian-of-"+pid+"$").Output()
	ts.Check(err)
	guardian, err := strconv.Atoi(strings.TrimSpace(string(found)))
	ts.Check(err)
	server, err := strconv.Atoi(pid)
	ts.Check(err)
	ignoresTerm(ts, guardian)
	ts.Check(syscall.Kill(guardian, syscall.SIGTERM))
	ts.Check(syscall.Kill(server, map[string]syscall.Signal{"TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}[args[1]]))
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", guardian))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		if time.Since(begin) > patience {
			ts.Fatalf("the guardian %d is still there", guardian)
		}
	}
}

// ignoresTerm waits until a process ignores SIGTERM.
func ignoresTerm(ts *testscript.TestScript, pid int) {
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		ts.Check(err)
		_, rest, _ := strings.Cut(string(status), "SigIgn:")
		mask, err := strconv.ParseUint(strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0]), 16, 64)
		ts.Check(err)
		if mask&(1<<(syscall.SIGTERM-1)) != 0 {
			return
		}
		if time.Since(begin) > patience {
			ts.Fatalf("process %d does not ignore SIGTERM", pid)
		}
	}
}

// cmdLines fails unless a file (or stdout, stderr) has so many lines.
func cmdLines(ts *testscript.TestScript, _ bool, args []string) {
	if n := strings.Count(ts.ReadFile(args[0]), "\n"); strconv.Itoa(n) != args[1] {
		ts.Fatalf("%s has %d lines, not %s", args[0], n, args[1])
	}
}
