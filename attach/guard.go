package attach

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/internal/limitlog"
)

// guard is a server's side of its guardian: it starts one with the first window,
// tells it of each, and starts another if it ends.
//
// The guardian takes the end of the socket for the end of the server. So it is
// closed only to one that has been told goodbye, or is dead.
type guard struct {
	log    *limitlog.Log
	pid    atomic.Int64 // of the guardian, 0 while there is none
	stop   chan struct{}
	keeper sync.WaitGroup

	mu struct {
		sync.Mutex
		windows map[uint64]*window // that a guardian has to know
		last    uint64             // number given out
		at      *post              // nil while there is no guardian
		keeping bool
		ended   bool
	}
}

// post is a guardian's process and the socket to it.
type post struct {
	cmd  *exec.Cmd
	conn *net.UnixConn
}

func newGuard(log *limitlog.Log) *guard {
	g := &guard{log: log, stop: make(chan struct{})}
	g.mu.windows = make(map[uint64]*window)
	return g
}

// watch has the guardian know of a window before its faults are served.
func (g *guard) watch(w *window) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !guardable.Load() || g.mu.ended {
		return
	}
	g.mu.last++
	w.guarded = g.mu.last
	g.mu.windows[w.guarded] = w
	if g.mu.keeping {
		g.tell(w)
		return
	}
	g.mu.keeping = true
	err := g.begin()
	g.keeper.Go(func() { g.keep(err) })
}

// forget takes a window off. The guardian goes on guarding it if left: its client
// still has the memory, and was let go because the server ends.
func (g *guard) forget(w *window, left bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.windows[w.guarded] == nil {
		return
	}
	delete(g.mu.windows, w.guarded)
	if !left {
		g.send(&message{kind: guardianForget, window: w.guarded})
	}
}

// tell sends a window to the guardian. Requires g.mu.
func (g *guard) tell(w *window) {
	g.send(&message{kind: guardianWatch, window: w.guarded, addr: uint64(w.addr), n: uint64(w.pages * cache.PageSize)},
		w.mem.Memory(), w.fd.Fd())
}

// send sends a message to the guardian, if there is one. One that does not take
// it is ended, and the next is told all. Requires g.mu.
func (g *guard) send(m *message, fds ...int) {
	if g.mu.at == nil {
		return
	}
	var p [messageSize]byte
	m.put(&p)
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	err := g.mu.at.conn.SetWriteDeadline(time.Now().Add(guardianPatience))
	if err == nil {
		_, _, err = g.mu.at.conn.WriteMsgUnix(p[:], rights, nil)
	}
	if err != nil {
		// Dead already, if that fails; keep hears it in either case.
		_ = g.mu.at.cmd.Process.Kill()
	}
}

// keep starts another guardian whenever one has ended, until the server does.
// began is the error of the first start.
func (g *guard) keep(began error) {
	for err := began; ; {
		if err == nil {
			err = g.await()
		}
		g.mu.Lock()
		ended := g.mu.ended
		g.mu.Unlock()
		if ended {
			return
		}
		g.log.Warn("no guardian; starting one. If this server were killed, a client could hang that is in the middle of a copy", "err", err)
		select {
		case <-g.stop:
			return
		case <-time.After(guardianPause):
		}
		g.mu.Lock()
		if err = nil; !g.mu.ended {
			err = g.begin()
		}
		g.mu.Unlock()
	}
}

// await returns why the guardian has ended, when it has.
func (g *guard) await() error {
	g.mu.Lock()
	at := g.mu.at
	g.mu.Unlock()
	if at == nil {
		return ErrServerClosed
	}
	err := at.cmd.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pid.Store(0)
	g.mu.at = nil
	_ = at.conn.Close() // nobody is at the other end
	if err == nil {
		err = errors.New("it ended by itself")
	}
	return fmt.Errorf("process %d: %w", at.cmd.Process.Pid, err)
}

// begin starts a guardian and tells it of all windows. Requires g.mu.
func (g *guard) begin() error {
	at, err := startGuardian()
	if err != nil {
		return fmt.Errorf("start of a guardian: %w", err)
	}
	g.mu.at = at
	g.pid.Store(int64(at.cmd.Process.Pid))
	for _, w := range g.mu.windows {
		g.tell(w)
	}
	return nil
}

// startGuardian starts this program again. Nothing of the server's stays open
// there, and no signal to the server's group or terminal reaches it.
func startGuardian() (*post, error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	own, its := os.NewFile(uintptr(ends[0]), "guardian"), os.NewFile(uintptr(ends[1]), "server")
	defer its.Close()
	conn, err := net.FileConn(own)
	// The connection is a copy.
	if err := errors.Join(err, own.Close()); err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{os.Args[0], "guardian-of-" + strconv.Itoa(os.Getpid())}
	cmd.Env = append(os.Environ(), guardianVar+"="+strconv.Itoa(guardianFD))
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{its}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &post{cmd, conn.(*net.UnixConn)}, nil
}

// end says goodbye to the guardian, which wakes who still waits, and returns when
// it has gone.
func (g *guard) end() {
	g.mu.Lock()
	if !g.mu.ended {
		g.mu.ended = true
		close(g.stop)
		g.send(&message{kind: guardianBye})
	}
	g.mu.Unlock()
	g.keeper.Wait()
}
