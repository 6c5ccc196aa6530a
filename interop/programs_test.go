package interop

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// commandTimeout ends a client that hangs. It is far above what any takes on a
// slow machine: it is there to end a test, not to measure.
const commandTimeout = 10 * time.Minute

// packages names the Debian package of each program that the tests use.
var packages = map[string]string{
	"nbdinfo":            "libnbd-bin",
	"nbdcopy":            "libnbd-bin",
	"nbdsh":              "libnbd-bin and python3-libnbd",
	"nbdfuse":            "libnbd-bin",
	"qemu-img":           "qemu-utils",
	"qemu-io":            "qemu-utils",
	"qemu-nbd":           "qemu-utils",
	"fio":                "fio",
	"qemu-system-x86_64": "qemu-system-x86",
	"nbd-client":         "nbd-client",
	"busybox":            "busybox-static",
	"mke2fs":             "e2fsprogs",
	"e2fsck":             "e2fsprogs",
	"gcc":                "gcc",
}

// need leaves t out unless all programs are there.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := find(p); err != nil {
			leaveOut(t, fmt.Sprintf("%s is not installed (Debian package %s)", p, packages[p]))
		}
	}
}

// slow leaves t out where only quick tests are wanted.
func slow(t *testing.T, takes string) {
	t.Helper()
	if !everything {
		leaveOut(t, "it takes "+takes+" (HOLDFAST_INTEROP=1 runs it)")
	}
}

// find looks for a program in PATH and where Debian keeps the administrator's
// programs, which are not in everybody's PATH.
func find(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, sbinErr := exec.LookPath(filepath.Join(dir, program)); sbinErr == nil {
			return path, nil
		}
	}
	return "", err
}

// command prepares a program that dies with the test.
func command(ctx context.Context, t *testing.T, program string, args ...string) *exec.Cmd {
	t.Helper()
	path := program
	if !strings.Contains(program, "/") {
		var err error
		if path, err = find(program); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Dir = t.TempDir()
	// nbdsh looks for the Python that Debian's libnbd belongs to, and would take
	// another that comes first.
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin:"+os.Getenv("PATH"))
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// run runs a program that must succeed and returns its standard output.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, stderr, err := try(t, program, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(args, " "), err, out, stderr)
	}
	return out
}

// try runs a program and returns what it printed.
func try(t *testing.T, program string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	cmd := command(ctx, t, program, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}
