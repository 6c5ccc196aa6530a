package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// everything says that no test may leave itself out.
var everything = os.Getenv("HOLDFAST_INTEROP") == "1"

// reportFile names, within the module, the list of what the last run left out.
const reportFile = "build/interop.txt"

func TestMain(m *testing.M) {
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	removeBinaries()
	if err := report(); err != nil {
		fmt.Fprintln(os.Stderr, "interop: the list of left-out tests:", err)
	}
	os.Exit(code)
}

// seed returns the seed of every random choice of t, and prints it. It comes
// from HOLDFAST_SEED or, without that, from the clock.
func seed(t *testing.T) int64 {
	t.Helper()
	s := time.Now().UnixNano()
	if given := os.Getenv("HOLDFAST_SEED"); given != "" {
		var err error
		if s, err = strconv.ParseInt(given, 10, 64); err != nil {
			t.Fatalf("HOLDFAST_SEED: %v", err)
		}
	}
	t.Logf("seed: HOLDFAST_SEED=%d", s)
	return s
}

// lastingOf returns how long a test is to run: what the variable of the environment
// says, or what a test takes of which it says nothing.
func lastingOf(t *testing.T, variable string, otherwise time.Duration) time.Duration {
	t.Helper()
	given := os.Getenv(variable)
	if given == "" {
		return otherwise
	}
	lasting, err := time.ParseDuration(given)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return lasting
}

// left holds what was left out and why.
var left struct {
	sync.Mutex
	lines []string // guarded by Mutex
}

// leaveOut skips t for the given reason, or fails it where everything must run.
func leaveOut(t *testing.T, reason string) {
	t.Helper()
	if everything {
		t.Fatalf("HOLDFAST_INTEROP=1 asks for every test, but %s", reason)
	}
	cannot(t, reason)
}

// cannot skips t for a reason that nobody can remove on this machine.
func cannot(t *testing.T, reason string) {
	t.Helper()
	left.Lock()
	left.lines = append(left.lines, fmt.Sprintf("%s: %s", t.Name(), reason))
	left.Unlock()
	t.Skip(reason)
}

// report writes the list of what was left out to reportFile and to the standard
// error of the go command.
//
// The go command hides the output of packages that pass, so a list that must be
// seen has to go around it. Reading back a file of the module that is this young
// also keeps the go command from caching the result: it could not know that the
// result stands on a binary built from packages that this one does not import,
// and on programs outside the module.
func report() error {
	left.Lock()
	defer left.Unlock()
	slices.Sort(left.lines)
	var b strings.Builder
	if len(left.lines) > 0 {
		fmt.Fprintf(&b, "interop: %d tests with real clients were left out (make test runs them all):\n", len(left.lines))
	}
	for _, l := range left.lines {
		fmt.Fprintf(&b, "interop: left out: %s\n", l)
	}
	path := filepath.Join(moduleRoot(), reportFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	_, err = goStderr().Write(text)
	return err
}

// goStderr is the standard error of the go command that runs this test, or our
// own where that cannot be reached.
func goStderr() *os.File {
	parent := fmt.Sprintf("/proc/%d/", os.Getppid())
	comm, err := os.ReadFile(parent + "comm")
	if err != nil || strings.TrimSpace(string(comm)) != "go" || testing.Verbose() {
		return os.Stderr
	}
	f, err := os.OpenFile(parent+"fd/2", os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return os.Stderr
	}
	return f
}

// moduleRoot is the folder that holds go.mod: tests run in their package's
// folder, which is one below.
func moduleRoot() string {
	wd, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return filepath.Dir(wd)
}
