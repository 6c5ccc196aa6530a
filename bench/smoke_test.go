package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"holdfast.dev/holdfast"
)

func TestMain(m *testing.M) {
	holdfast.RunGuardian()
	// A test starts its own binary to have mapped memory stored to.
	if runChild() {
		return
	}
	os.Exit(m.Run())
}

// ready builds a holdfast and returns the flags for a run that is as short as
// can be, in a folder where nothing else is.
func ready(t *testing.T) (dir string, args []string) {
	t.Helper()
	if os.Getenv("HOLDFAST_INTEROP") != "1" {
		t.Skip("it takes half a minute and other people's programs; HOLDFAST_INTEROP=1 runs it")
	}
	binary := filepath.Join(t.TempDir(), "holdfast")
	if _, err := output(t.Context(), "go", "build", "-o", binary, "../cmd/holdfast"); err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	// What is made for sockets is to be found again as well.
	t.Setenv("TMPDIR", filepath.Join(dir, "s"))
	if err := os.Mkdir(filepath.Join(dir, "s"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, []string{"-holdfast", binary, "-rounds", "1", "-runtime", "100ms", "-size", "64MiB",
		"-out", filepath.Join(dir, "out"), "-dir", filepath.Join(dir, "files")}
}

// gone fails t if anything is left of a run.
func gone(t *testing.T, dir string) {
	t.Helper()
	for _, sub := range []string{"files", "s"} {
		if left, _ := filepath.Glob(filepath.Join(dir, sub, "*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	all, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range family(all, os.Getpid())[1:] {
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", s.pid))
		t.Errorf("process %d is left behind: %s", s.pid, name)
	}
	if _, err := lookPath("losetup"); err == nil {
		if out, err := output(context.Background(), "losetup", "--list", "--noheadings", "--output", "BACK-FILE"); err != nil || strings.Contains(out, dir) {
			t.Errorf("loop devices: %s, %v", out, err)
		}
	}
	if mounts, err := os.ReadFile("/proc/mounts"); err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("mounts: %s, %v", mounts, err)
	}
}

// short runs the harness and returns its result.
func short(t *testing.T, dir string, args ...string) *result {
	t.Helper()
	var log bytes.Buffer
	if status := run(t.Context(), args, io.Discard, &log); status != exitOK {
		t.Fatalf("exit status %d\n%s", status, log.String())
	}
	text, err := os.ReadFile(filepath.Join(dir, "out", "bench.json"))
	if err != nil {
		t.Fatal(err)
	}
	r := new(result)
	if err := json.Unmarshal(text, r); err != nil {
		t.Fatal(err)
	}
	t.Logf("took %.0f s; left out: %v", r.Took, r.LeftOut)
	gone(t, dir)
	return r
}

// Every peer that is installed is measured.
func TestSmokePeers(t *testing.T) {
	dir, args := ready(t)
	r := short(t, dir, append(args, "-only", "^"+flushEach+"$")...)
	took := r.contestants(flushEach)
	for _, k := range append([]kind{{name: ourselves}, {name: bareContestant}}, peers...) {
		if k.missing() == "" && !slices.Contains(took, k.name) {
			t.Errorf("%s is there and was not measured", k.name)
		}
	}
}

// Every stage measures something.
func TestSmokeStages(t *testing.T) {
	dir, args := ready(t)
	only := `^(randwrite 4k qd1|cost: randread|cold read|cache of a fourth: randread|nbdcopy|start|resync|memory|in process|limit: (copy|bare file, read|fio and))`
	r := short(t, dir, append(args, "-only", only, "-peers", "^(nbdkit|one leg$)")...)
	for _, s := range stages() {
		if !slices.ContainsFunc(s.names, func(e string) bool { return len(r.contestants(e)) > 0 }) {
			t.Errorf("nothing was measured in %s", s.name)
		}
	}
}

// A run that is stopped in the middle leaves nothing either.
func TestSmokeInterrupted(t *testing.T) {
	dir, args := ready(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log := &trigger{on: "bench:   " + readDeep, do: cancel}
	if status := run(ctx, append(args, "-only", "^randread 4k", "-peers", "btrfs|nbd-server"), io.Discard, log); status != exitFailure {
		t.Errorf("exit status %d\n%s", status, log.String())
	}
	gone(t, dir)
}

// trigger does something when it is told of something.
type trigger struct {
	on string
	do func()

	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (t *trigger) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text.Write(p)
	if strings.Contains(t.text.String(), t.on) {
		t.do()
	}
	return len(p), nil
}

func (t *trigger) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}
