package attach

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/internal/uffd"
)

// errUnreachable says that an operation on an address space did not end in time.
var errUnreachable = errors.New("the address space cannot be reached")

// operation is what is done to a range of pages in an address space.
type operation uint8

const (
	// opShow maps pages without write access.
	opShow operation = iota
	// opOpen maps pages with write access, and gives it to those mapped already.
	opOpen
	// opGrant gives write access to pages that are mapped.
	opGrant
	// opProtect takes write access away.
	opProtect
	// opPoison makes accesses to a page that is not mapped fail. What is left of
	// its protection has to go first.
	opPoison
	// opProbe finds out whether the page map is that of the address space.
	opProbe
	// opScan finds and protects what was stored to.
	opScan
	// opWake lets who waits try again.
	opWake
)

// reach does operations on one address space, each within a bounded time. The
// kernel waits for the locks of the process without a limit, and pages are
// locked meanwhile; so it is goroutines of its own that wait, and may be left
// behind.
type reach struct {
	perform  func(c call) error
	patience time.Duration
	calls    chan call
	stop     chan struct{}
	// lost is set by the first operation that did not end in time. Nothing is
	// tried after it.
	lost atomic.Bool
}

type call struct {
	op   operation
	addr uintptr
	n    int
	scan *scan // of opScan
	done chan error
}

// waiter is what one who waits for an operation needs.
type waiter struct {
	done  chan error
	timer *time.Timer
}

var waiters = sync.Pool{New: func() any {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &waiter{done: make(chan error, 1), timer: t}
}}

func newReach(perform func(call) error, patience time.Duration) *reach {
	r := &reach{perform: perform, patience: patience, calls: make(chan call), stop: make(chan struct{})}
	for range reachWorkers {
		go r.work()
	}
	return r
}

func (r *reach) work() {
	for {
		select {
		case c := <-r.calls:
			c.done <- r.perform(c)
		case <-r.stop:
			return
		}
	}
}

// do does one operation.
func (r *reach) do(op operation, addr uintptr, n int) error {
	return r.call(call{op: op, addr: addr, n: n})
}

// scan fills s. After an error s may be in use for as long as there is one.
func (r *reach) scan(addr uintptr, n int, s *scan) error {
	return r.call(call{op: opScan, addr: addr, n: n, scan: s})
}

func (r *reach) call(c call) error {
	if r.lost.Load() {
		return errUnreachable
	}
	w := waiters.Get().(*waiter)
	c.done = w.done
	w.timer.Reset(r.patience)
	select {
	case r.calls <- c:
	case <-w.timer.C:
		r.lost.Store(true)
		waiters.Put(w)
		return errUnreachable
	case <-r.stop:
		w.timer.Stop()
		waiters.Put(w)
		return ErrClosed
	}
	select {
	case err := <-w.done:
		w.timer.Stop()
		waiters.Put(w)
		return err
	case <-w.timer.C:
		// The waiter stays with the call, which may still answer.
		r.lost.Store(true)
		return errUnreachable
	}
}

// end lets the goroutines go, those that are stuck when they come free.
func (r *reach) end() { close(r.stop) }

// perform does an operation, however long it takes.
func perform(fd *uffd.FD, c call) error {
	addr, n := c.addr, c.n
	switch c.op {
	case opProbe:
		return fd.Probe(addr)
	case opScan:
		var err error
		c.scan.found, c.scan.done, err = fd.Stored(addr, n, c.scan.regions[:])
		return err
	case opShow:
		_, err := fd.Continue(addr, n, true)
		return err
	case opOpen:
		if _, err := fd.Continue(addr, n, false); err != nil || n == cache.PageSize {
			// A single page that somebody mapped in the meantime faults again, and is
			// then asked for as what it is.
			return err
		}
		return fd.Unprotect(addr, n)
	case opGrant:
		return fd.Unprotect(addr, n)
	case opProtect:
		return fd.Protect(addr, n)
	case opPoison:
		err := fd.Poison(addr, n)
		if errors.Is(err, uffd.ErrMapped) {
			if err := fd.Unprotect(addr, n); err != nil {
				return err
			}
			err = fd.Poison(addr, n)
		}
		if errors.Is(err, uffd.ErrMapped) {
			// It is poisoned already, or its process mapped memory of its own there.
			return fd.Wake(addr, n)
		}
		return err
	}
	return fd.Wake(addr, n)
}
