package device_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"holdfast.dev/holdfast/device"
)

// create makes a file of size bytes in dir, under a name of its own.
func create(t testing.TB, dir string, size int64) string {
	t.Helper()
	d, err := os.MkdirTemp(dir, "leg")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(d, "leg")
	if err := device.CreateFile(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

// open opens a file that is closed at the end of the test, unless the test did.
func open(t testing.TB, path string, o device.FileOptions) *device.File {
	t.Helper()
	f, err := device.OpenFile(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// tmpfs returns a directory on a file system without O_DIRECT, or with one that
// means nothing, and without ZERO_RANGE.
func tmpfs(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "holdfast-test")
	if err != nil {
		t.Skipf("no tmpfs at hand: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// loopDevice makes a block device of size bytes that is detached at the end of
// the test.
func loopDevice(t *testing.T, size int64) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("making a loop device takes root")
	}
	if _, err := exec.LookPath("losetup"); err != nil {
		t.Skipf("making a loop device takes losetup: %v", err)
	}
	out, err := exec.Command("losetup", "--find", "--show", create(t, t.TempDir(), size)).Output()
	if err != nil {
		t.Skipf("no loop device to be had: %v", err)
	}
	path := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", path).CombinedOutput(); err != nil {
			t.Errorf("losetup --detach %s: %v: %s", path, err, out)
		}
	})
	return path
}

// allocated returns the bytes that a file takes on its disk.
func allocated(t *testing.T, path string) int64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}
