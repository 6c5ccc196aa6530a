package programs

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast.dev/holdfast"
	"holdfast.dev/holdfast/attach"
	"holdfast.dev/holdfast/internal/uffd"
)

// programVar names what a process that a test starts from this binary runs.
const programVar = "HOLDFAST_PROGRAM"

// asyncVar has a process map volumes in the asynchronous mode; without it each
// first store to a page is announced.
const asyncVar = "HOLDFAST_PROGRAM_ASYNC"

// storing are the flags with which a process maps what it stores to.
func storing() attach.Flags {
	if os.Getenv(asyncVar) != "" {
		return attach.ReadWrite | attach.Async
	}
	return attach.ReadWrite | attach.Announced
}

// variants runs a test for each policy and in both modes.
func variants(t *testing.T, f func(t *testing.T, m *machine)) {
	for _, policy := range []string{"wait", "copy"} {
		for _, mode := range []uffd.Mode{uffd.Announced, uffd.Async} {
			name := policy + "/announced"
			if mode == uffd.Async {
				name = policy + "/async"
			}
			t.Run(name, func(t *testing.T) { f(t, newMachine(t, policy, mode)) })
		}
	}
}

var (
	seedFlag = flag.Uint64("seed", 0, "replay the random choices of this seed")
	opsFlag  = flag.Int("ops", 30_000, "how many operations fsx does, for each policy and mode")
)

func TestMain(m *testing.M) {
	if args := strings.Fields(os.Getenv(programVar)); len(args) > 0 {
		if err := runProgram(args); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println("done")
		os.Exit(0)
	}
	flag.Parse()
	if *seedFlag == 0 {
		*seedFlag = uint64(time.Now().UnixNano())
	}
	fmt.Printf("programs: replay with -seed %d\n", *seedFlag)
	goleak.VerifyTestMain(m)
}

// runProgram is the main function of a process that a test started: its name,
// the socket, a number, the seed.
func runProgram(args []string) error {
	run := programs[args[0]]
	if run == nil || len(args) != 4 {
		return fmt.Errorf("unknown program %q", args)
	}
	number, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	seed, err := strconv.ParseUint(args[3], 10, 64)
	if err != nil {
		return err
	}
	c, err := attach.Open(context.Background(), args[1])
	if err != nil {
		return err
	}
	defer c.Close()
	return run(c, number, rand.New(rand.NewPCG(seed, uint64(number))))
}

const (
	volumeSize = 48 << 20 // three times the cache
	pageSize   = 4096
)

// machine is a pool that is being served, under pressure everywhere.
type machine struct {
	t      *testing.T
	dir    string
	socket string
	mode   uffd.Mode
	pool   *holdfast.Pool
	served chan error
}

func newMachine(t *testing.T, stability string, mode uffd.Mode) *machine {
	t.Helper()
	fd, err := uffd.Create(mode)
	if err != nil {
		t.Skipf("this kernel cannot map volumes into other processes: %v", err)
	}
	fd.Close()
	m := &machine{t: t, mode: mode, dir: filepath.Join(t.TempDir(), "p")}
	err = holdfast.Create(m.dir, holdfast.CreateOptions{
		Legs: []string{m.dir + ".a", m.dir + ".b"}, Size: volumeSize, Stability: stability,
	})
	if err != nil {
		t.Fatal(err)
	}
	m.open()
	t.Cleanup(func() {
		if m.pool != nil {
			m.close()
		}
	})
	return m
}

func (m *machine) open() {
	m.t.Helper()
	pool, err := holdfast.Open(m.dir, holdfast.Options{
		Log:    slog.New(slog.NewTextHandler(testLog{m.t}, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Budget: 16 << 20, DirtyLimit: 4 << 20, DirtyAge: 10 * time.Millisecond, RegionPeriod: 50 * time.Millisecond,
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.pool, m.socket = pool, pool.AttachAddress()
	l, err := pool.ListenAttach(m.socket)
	if err != nil {
		m.t.Fatal(err)
	}
	m.served = make(chan error, 1)
	go func(l net.Listener) { m.served <- pool.ServeAttach(l) }(l)
}

// close stops the pool and compares the legs. Nobody changed memory behind the
// server's back, so none of that may be counted.
func (m *machine) close() {
	m.t.Helper()
	if s := m.pool.Status(); s.Cache.Unannounced != 0 {
		m.t.Errorf("%d changes count as unannounced", s.Cache.Unannounced)
	}
	m.closeChanged()
}

// closeChanged is close where somebody has changed memory behind the server's
// back.
func (m *machine) closeChanged() {
	m.t.Helper()
	if err := m.pool.Close(); err != nil {
		m.t.Error(err)
	}
	if err := <-m.served; err != nil {
		m.t.Error(err)
	}
	m.pool = nil
	r, err := holdfast.Check(m.dir)
	if err != nil || !r.Sound() {
		m.t.Errorf("after the programs: %v, %v", r.Problems, err)
	}
}

func (m *machine) volume() *holdfast.Volume {
	m.t.Helper()
	v, err := m.pool.Volume("main")
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { v.Close() })
	return v
}

// testLog puts what the server has to say into the test's log.
type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// start starts a program in a process of its own.
func (m *machine) start(name string, number int, env ...string) *exec.Cmd {
	m.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d %d", programVar, name, m.socket, number, *seedFlag))
	if m.mode == uffd.Async {
		cmd.Env = append(cmd.Env, asyncVar+"=1")
	}
	cmd.Env = append(cmd.Env, env...)
	cmd.Stderr = os.Stderr
	return cmd
}

// run runs count processes of a program at once, to their end.
func (m *machine) run(name string, count int, env ...string) {
	m.t.Helper()
	errs := make(chan error, count)
	for i := range count {
		cmd := m.start(name, i, env...)
		go func() {
			out, err := cmd.Output()
			if err != nil {
				err = fmt.Errorf("%s, process %d: %w: %s", name, i, err, lastLine(out))
			}
			errs <- err
		}()
	}
	for range count {
		if err := <-errs; err != nil {
			m.t.Error(err)
		}
	}
}

func lastLine(out []byte) string {
	last := ""
	for s := bufio.NewScanner(strings.NewReader(string(out))); s.Scan(); {
		last = s.Text()
	}
	return last
}
