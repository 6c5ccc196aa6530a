package attach

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast.dev/holdfast/cache"
)

// A client whose address space is locked, here by itself while a file system of
// its own does not answer, is detached, and the others do not notice.
func TestStuckClient(t *testing.T) {
	bothModes(t, testStuckClient)
}

func testStuckClient(t *testing.T, newHouse func(t testing.TB, o Options) *house) {
	h := newHouse(t, Options{Patience: 300 * time.Millisecond})
	a, b := h.client(64), h.client(64)
	a.do("store 1 1", "ok")
	b.do("store 2 2", "ok")
	f := newSilentFile(t)
	a.tell("stick " + f.path)
	select {
	case <-f.silent:
	case <-time.After(time.Minute):
		t.Fatal("the client is not stuck")
	}
	ended := make(chan error, 1)
	go func() { ended <- h.handle.Sync() }()
	b.do("store 3 3", "ok")
	b.do("load 60", "ok 0")
	select {
	case err := <-ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("a sync waits for an address space that cannot be reached")
	}
	h.stored(1, 1)
	h.clients(1)
	b.do("store 1 9", "ok")
	b.do("sync", "ok")
	h.stored(1, 9)
	h.stored(2, 2)
	h.stored(3, 3)
	if lines := h.log.lines(); len(lines) != 1 || !strings.Contains(lines[0], errUnreachable.Error()) {
		t.Errorf("%q", lines)
	}
}

// stick keeps this process's address space locked: a mapping is replaced that has
// to be written back first, to a file system that does not answer.
func stick(path string) error {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	var st unix.Stat_t // makes the kernel ask for the size
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	at, err := unix.MmapPtr(fd, 0, nil, cache.PageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	*(*byte)(at) = 1
	_, err = unix.MmapPtr(-1, 0, at, cache.PageSize, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_FIXED)
	return err
}

// silentFile is a file of a FUSE file system that answers everything but a write.
type silentFile struct {
	path   string
	device *os.File
	silent chan struct{} // closed when there is a write to be answered
	once   sync.Once
}

func newSilentFile(t *testing.T) *silentFile {
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no FUSE: %v", err)
	}
	f := &silentFile{path: filepath.Join(t.TempDir(), "file"), device: device, silent: make(chan struct{})}
	if err := os.WriteFile(f.path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=100600,user_id=%d,group_id=%d", device.Fd(), os.Getuid(), os.Getgid())
	if err := unix.Mount("silent", f.path, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		device.Close()
		t.Skipf("this user cannot mount: %v", err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); f.serve() }()
	t.Cleanup(func() {
		// Forced, so that whoever waits for an answer gets an error.
		if err := unix.Unmount(f.path, unix.MNT_FORCE|unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		<-ended
		device.Close()
	})
	return f
}

// The operations of FUSE that a file sees (include/uapi/linux/fuse.h).
const (
	fuseForget  = 2
	fuseGetattr = 3
	fuseSetattr = 4
	fuseOpen    = 14
	fuseRead    = 15
	fuseWrite   = 16
	fuseRelease = 18
	fuseFlush   = 25
	fuseInit    = 26
	fuseBreak   = 36 // INTERRUPT
)

// serve answers until the file system is unmounted.
func (f *silentFile) serve() {
	buf := make([]byte, 1<<18)
	for {
		n, err := unix.Read(int(f.device.Fd()), buf)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil || n < 40 {
			return
		}
		var body []byte
		status := int32(0)
		switch op := binary.NativeEndian.Uint32(buf[4:]); op {
		case fuseWrite:
			f.once.Do(func() { close(f.silent) })
			continue
		case fuseForget, fuseBreak:
			continue
		case fuseInit:
			body = make([]byte, 64)
			binary.NativeEndian.PutUint32(body[0:], 7)
			binary.NativeEndian.PutUint32(body[4:], 31)
			binary.NativeEndian.PutUint32(body[20:], 1<<17) // the longest write
		case fuseGetattr, fuseSetattr:
			body = make([]byte, 16+88)
			binary.NativeEndian.PutUint64(body[16:], 1)              // inode
			binary.NativeEndian.PutUint64(body[24:], cache.PageSize) // size
			binary.NativeEndian.PutUint32(body[76:], unix.S_IFREG|0o600)
			binary.NativeEndian.PutUint32(body[80:], 1) // links
		case fuseOpen:
			body = make([]byte, 16)
		case fuseRead:
			body = make([]byte, cache.PageSize)
		case fuseRelease, fuseFlush:
		default:
			status = -int32(unix.ENOSYS)
		}
		out := make([]byte, 16, 16+len(body))
		binary.NativeEndian.PutUint32(out[0:], uint32(16+len(body)))
		binary.NativeEndian.PutUint32(out[4:], uint32(status))
		copy(out[8:], buf[8:16])
		if _, err := unix.Write(int(f.device.Fd()), append(out, body...)); err != nil && err != unix.ENOENT {
			return
		}
	}
}

// stranger is a user that is not root.
const stranger = 65534

// Who is another user is refused, unless he is allowed; then he can do what the
// others can.
func TestOtherUser(t *testing.T) {
	bothModes(t, testOtherUser)
}

func testOtherUser(t *testing.T, newHouse func(t testing.TB, o Options) *house) {
	if os.Geteuid() != 0 {
		t.Skip("only root can start a process of another user")
	}
	for _, allowed := range []bool{false, true} {
		t.Run(fmt.Sprintf("allowed=%v", allowed), func(t *testing.T) {
			var o Options
			if allowed {
				o.Allow = func(uid uint32) bool { return uid == stranger }
			}
			h := newHouse(t, o)
			socket := h.openSocket()
			cmd := exec.Command("/proc/self/exe") // this binary's folder is not for everybody
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
			cmd.Dir = "/"
			if !allowed {
				cmd.Env = append(os.Environ(), roleVar+"=client", "HOLDFAST_ATTACH_SOCKET="+socket)
				out, err := cmd.Output()
				if err == nil || !strings.Contains(string(out), ErrDenied.Error()) {
					t.Errorf("%q, %v", out, err)
				}
				h.clients(0) // it is told before it is counted as gone, and after the answer
				if lines := h.log.lines(); len(lines) != 1 || !strings.Contains(lines[0], fmt.Sprint(stranger)) {
					t.Errorf("%q", lines)
				}
				return
			}
			h.put(5, 5)
			c := launch(t, cmd, roleVar+"=client", "HOLDFAST_ATTACH_SOCKET="+socket, h.modeEnv())
			c.do("map vol 0 16", "ok")
			c.do("load 5", "ok 5")
			c.do("store 1 1", "ok")
			c.do("sync", "ok")
			h.stored(1, 1)
			if st := h.server.Stats(); len(st.Clients) != 1 || st.Clients[0].UID != stranger {
				t.Errorf("%+v", st.Clients)
			}
		})
	}
}

// openSocket serves the house at a second path, to which everybody can connect.
func (h *house) openSocket() string {
	h.t.Helper()
	dir, err := os.MkdirTemp("", "attach")
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := Listen(h.t.Context(), path)
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o711), os.Chmod(path, 0o666))
	}
	if err != nil {
		h.t.Fatal(err)
	}
	go h.server.Serve(l)
	return path
}
