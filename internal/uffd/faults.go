package uffd

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Kind says what an access found.
type Kind uint8

const (
	// Missing: the memfd has no page there.
	Missing Kind = iota
	// Minor: the memfd has a page there that is not mapped here.
	Minor
	// WriteProtect: a store to a page that is mapped write-protected.
	WriteProtect
)

func (k Kind) String() string {
	switch k {
	case Missing:
		return "missing"
	case Minor:
		return "minor"
	case WriteProtect:
		return "write-protect"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Fault is an access that waits.
type Fault struct {
	Addr   uintptr // the very byte, in the address space of the process that faults
	Kind   Kind
	Write  bool
	Thread int // of the one that faults, in its own PID namespace
}

// messagesMost is how many faults are read at once. A client has as many
// waiting as it has threads that fault.
const messagesMost = 64

// reader waits for faults in the poller of the runtime, so that a waiting
// process keeps no thread.
type reader struct {
	file *os.File
	raw  syscall.RawConn

	mu struct {
		sync.Mutex
		messages [messagesMost]message
		most     int // of messages, to be read
		bytes    int // read
		err      error
		// blocking says that the kernel cannot be told for a single read that it
		// must not wait (it can since Linux 6.10).
		blocking bool
	}

	// attempt is r.try, made once because a method value allocates.
	attempt func(fd uintptr) bool
}

// newReader takes over the file, also if it fails.
func newReader(file *os.File) (*reader, error) {
	raw, err := file.SyscallConn()
	if err == nil {
		// Fails if the poller would not take it.
		err = file.SetReadDeadline(time.Time{})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("userfaultfd: wait for faults: %w", err), file.Close())
	}
	r := &reader{file: file, raw: raw}
	r.attempt = r.try
	return r, nil
}

// ReadFaults waits for faults and puts them into buf, at least one and as many
// as there are and fit. A fault is told once; the thread waits until its page
// has been served, or woken. Other threads that wait for the same page have
// faults of their own.
//
// It returns os.ErrClosed after Close. It does not notice that the process has
// ended: its socket does.
func (f *FD) ReadFaults(buf []Fault) (int, error) {
	if f.faults == nil {
		return 0, errors.New("userfaultfd: faults must be read in another process than the one that faults")
	}
	if !f.enter() {
		return 0, closedError("read faults")
	}
	defer f.leave()
	n, err := f.faults.read(buf)
	if err != nil && f.users.Load() >= closing {
		return 0, closedError("read faults")
	}
	return n, err
}

func closedError(what string) error {
	return fmt.Errorf("userfaultfd: %s: %w", what, os.ErrClosed)
}

func (r *reader) read(buf []Fault) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.most = min(len(buf), messagesMost)
	if r.mu.most == 0 {
		return 0, nil
	}
	if err := r.raw.Read(r.attempt); err != nil {
		return 0, fmt.Errorf("userfaultfd: wait for faults: %w", err)
	}
	if r.mu.err != nil {
		return 0, fmt.Errorf("userfaultfd: read faults: %w", r.mu.err)
	}
	n := r.mu.bytes / int(unsafe.Sizeof(message{}))
	for i := range n {
		m := &r.mu.messages[i]
		if m.event != eventPagefault {
			return 0, fmt.Errorf("%w: it tells of event %#x", ErrNotUserfaultfd, m.event)
		}
		buf[i] = m.fault()
	}
	return n, nil
}

// try reads what there is and says whether that ends the wait. Requires r.mu.
func (r *reader) try(fd uintptr) bool {
	messages := unsafe.Slice((*byte)(unsafe.Pointer(&r.mu.messages)), r.mu.most*int(unsafe.Sizeof(message{})))
	for {
		r.mu.bytes, r.mu.err = r.readOnce(int(fd), messages)
		switch r.mu.err {
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			return true
		}
	}
}

// readOnce does not rely on O_NONBLOCK where it can: that is a flag of the
// description that the client shares, who may clear it. Requires r.mu.
func (r *reader) readOnce(fd int, p []byte) (int, error) {
	if !r.mu.blocking {
		n, err := unix.Preadv2(fd, [][]byte{p}, -1, unix.RWF_NOWAIT)
		if err != unix.EOPNOTSUPP {
			return n, err
		}
		r.mu.blocking = true
	}
	return unix.Read(fd, p)
}

func (m *message) fault() Fault {
	f := Fault{Addr: uintptr(m.address), Write: m.flags&pagefaultWrite != 0, Thread: int(m.thread)}
	switch {
	case m.flags&pagefaultProtected != 0:
		f.Kind = WriteProtect
	case m.flags&pagefaultMinor != 0:
		f.Kind = Minor
	}
	return f
}
