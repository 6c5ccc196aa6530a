package interop

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// hangable is a file on a file system whose server can be stopped: every call of
// the file then hangs in the kernel, until the server goes on.
type hangable struct {
	t      *testing.T
	path   string
	server *exec.Cmd
}

// newHangable makes such a file of size bytes.
func newHangable(t *testing.T, size int64) *hangable {
	t.Helper()
	need(t, "nbdfuse", "qemu-nbd")
	if _, err := os.Stat("/dev/fuse"); err != nil {
		cannot(t, fmt.Sprintf("this kernel, or container, has no FUSE: %v", err))
	}
	if os.Getuid() != 0 {
		cannot(t, "mounting takes root")
	}
	dir := t.TempDir()
	back := filepath.Join(dir, "back")
	h := &hangable{t: t, path: filepath.Join(dir, "leg")}
	for path, size := range map[string]int64{back: size, h.path: 0} {
		err := os.WriteFile(path, nil, 0o600)
		if err == nil {
			err = os.Truncate(path, size)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// Without --discard=unmap a hole that is punched goes on reading as what was there.
	h.server = command(context.Background(), t, "nbdfuse", h.path, "--socket-activation", "qemu-nbd", "--discard=unmap", "-f", "raw", back)
	h.server.Stdout, h.server.Stderr = os.Stderr, os.Stderr
	if err := h.server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.unmount)
	eventually(t, "the mount", func() bool {
		st, err := os.Stat(h.path)
		return err == nil && st.Size() == size
	})
	return h
}

// hang stops the file's server. However the test ends, it goes on before anybody
// waits for the end of a process that uses the file.
func (h *hangable) hang() {
	h.t.Helper()
	h.t.Cleanup(h.answer)
	h.signal(syscall.SIGSTOP)
}

// answer lets the file's server go on.
func (h *hangable) answer() { h.signal(syscall.SIGCONT) }

func (h *hangable) signal(s syscall.Signal) {
	h.t.Helper()
	if err := h.server.Process.Signal(s); err != nil {
		h.t.Fatal(err)
	}
}

// unmount ends the file's server.
func (h *hangable) unmount() {
	if err := syscall.Unmount(h.path, syscall.MNT_DETACH); err != nil {
		h.t.Errorf("unmounting %s: %v", h.path, err)
	}
	if err := h.server.Wait(); err != nil {
		h.t.Errorf("nbdfuse: %v", err)
	}
}
