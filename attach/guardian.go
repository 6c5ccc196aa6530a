package attach

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"holdfast.dev/holdfast/internal/uffd"
)

const (
	// guardianVar tells a process that it is a guardian, and its descriptor of the
	// server's socket.
	guardianVar = "HOLDFAST_GUARDIAN"
	// guardianFD is the first descriptor after the standard ones.
	guardianFD = 3
)

// Kinds of messages to a guardian, in the wire format of the protocol.
const (
	// guardianWatch: window, addr and n are a window's; with it come a descriptor
	// of its volume's memory that can be truncated, and its userfaultfd.
	guardianWatch = 1
	// guardianForget: window is over.
	guardianForget = 2
	// guardianBye: the server ends by its own will, and has no use for the
	// memory any more. Whoever waits is woken, but the memory is left alone.
	guardianBye = 3
)

// guardable says that this program's main calls RunGuardian, so that it can be
// started as a guardian.
var guardable atomic.Bool

// RunGuardian has to be the first call of main in a program that wants its
// servers to have a guardian (see the package comment). In a process that a
// server started to be its guardian it does not return.
func RunGuardian() {
	text, ok := os.LookupEnv(guardianVar)
	if !ok {
		guardable.Store(true)
		return
	}
	if text != strconv.Itoa(guardianFD) {
		fmt.Fprintf(os.Stderr, "%s is %q: a server sets it for a process that it starts; unset it\n", guardianVar, text)
		os.Exit(guardianUsage)
	}
	// What stops the server leaves it time to finish; its guardian outlives it.
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGPIPE)
	g := guardian{windows: make(map[uint64]guarded), memories: make(map[inode]*memory)}
	os.Exit(g.run(guardianFD))
}

// Exit statuses of a guardian.
const (
	guardianDone  = 0
	guardianUsage = 2
	// guardianBlind: it cannot know any more what it has to watch.
	guardianBlind = 3
)

// guardian is all that a guardian's process has: what it needs to make the
// memory fail once its server is gone. It has one thread of work, reads no
// memory of anybody, and sends nothing.
type guardian struct {
	windows  map[uint64]guarded
	memories map[inode]*memory
}

// guarded is a window: its userfaultfd and where it lies in its client.
type guarded struct {
	memory  *memory
	fd      int
	addr, n uintptr
}

// memory is that of a volume, of which one descriptor is enough.
type memory struct {
	of      inode
	fd      int
	windows int
}

type inode struct{ dev, ino uint64 }

// run does what the server says until it has gone, and then what has to be done.
// An error that does not say that the server has gone is none of its going.
func (g *guardian) run(socket int) (status int) {
	var p [messageSize + 1]byte
	oob := make([]byte, unix.CmsgSpace(4*maxDescriptors))
	for {
		n, oobn, flags, _, err := unix.Recvmsg(socket, p[:], oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ECONNRESET, err == nil && n == 0 && oobn == 0:
			g.bury()
			return guardianDone
		case err != nil, flags&unix.MSG_CTRUNC != 0:
			return guardianBlind
		}
		m, err := parse(p[:n])
		if err != nil {
			return guardianBlind
		}
		switch fds := descriptors(oob[:oobn]); {
		case m.kind == guardianWatch && len(fds) == 2:
			if !g.watch(&m, fds[0], fds[1]) {
				return guardianBlind
			}
		case m.kind == guardianForget && len(fds) == 0:
			g.forget(m.window)
		case m.kind == guardianBye && len(fds) == 0:
			g.wake()
			return guardianDone
		default:
			return guardianBlind
		}
	}
}

func (g *guardian) watch(m *message, mem, fd int) bool {
	var st unix.Stat_t
	if err := unix.Fstat(mem, &st); err != nil {
		return false
	}
	of := inode{uint64(st.Dev), st.Ino}
	if g.memories[of] == nil {
		g.memories[of] = &memory{of: of, fd: mem}
	} else {
		closeFD(mem)
	}
	g.memories[of].windows++
	g.windows[m.window] = guarded{g.memories[of], fd, uintptr(m.addr), uintptr(m.n)}
	return true
}

func (g *guardian) forget(number uint64) {
	w, ok := g.windows[number]
	if !ok {
		return
	}
	delete(g.windows, number)
	closeFD(w.fd)
	if w.memory.windows--; w.memory.windows == 0 {
		delete(g.memories, w.memory.of)
		closeFD(w.memory.fd)
	}
}

// bury makes every access to the memory of a server that is gone fail. Clients
// that can help themselves are given a moment to do so first, as they know that
// it is the server that is gone.
func (g *guardian) bury() {
	if len(g.windows) == 0 {
		return
	}
	time.Sleep(guardianSettle)
	for _, m := range g.memories {
		for unix.Ftruncate(m.fd, 0) == unix.EINTR {
		}
	}
	g.wake()
}

// guardianSettle is the moment that clients have to help themselves.
const guardianSettle = 10 * time.Millisecond

// guardianWakes are the pauses before each time that all are woken. Who has seen
// the memory before it was cut off may begin to wait a little after.
var guardianWakes = []time.Duration{0, 10 * time.Millisecond, 100 * time.Millisecond}

// wake lets everybody find out that there is no memory. A client that has ended
// cannot be woken, and need not be.
func (g *guardian) wake() {
	if len(g.windows) == 0 {
		return
	}
	for _, pause := range guardianWakes {
		time.Sleep(pause)
		for _, w := range g.windows {
			_ = uffd.Wake(w.fd, w.addr, int(w.n))
		}
	}
}
