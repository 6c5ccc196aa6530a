package attach

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/internal/uffd"
)

// window is a range of a volume in the memory of a client. It is attached as
// soon as it is asked for, and served once the client has sent its userfaultfd.
type window struct {
	c        *session
	id       uint64
	volume   string
	writable bool
	async    bool // stores are not announced
	mem      *cache.Attachment
	// The pages [first, first+pages) of the volume.
	first, pages int64
	// written has the parts in which stores were ever allowed: outside of them
	// there is no write access to take away. It is marked before access is given,
	// under the page's lock, so who has the lock sees it.
	written blocks
	around  atomic.Int64
	// live says that faults are served, and everything here is in its place.
	live atomic.Bool

	// Used by the session's goroutine alone, until serve. pagemap is the client's, to
	// be adopted, or -1.
	deadline *time.Timer
	pager    *pager
	pagemap  int

	fd    *uffd.FD
	addr  uintptr
	reach *reach
	// guarded is the guardian's number of the window, and belongs to guard.
	guarded uint64

	// access is held shared while access is given, and exclusively to end that.
	access struct {
		sync.RWMutex
		ended bool
	}
	unannounced atomic.Int64

	pins pins
}

var _ cache.Mapper = (*window)(nil)

// serve starts to serve faults at addr.
func (w *window) serve(fd *uffd.FD, addr uintptr) error {
	w.fd, w.addr = fd, addr
	w.reach = newReach(func(c call) error { return perform(fd, c) }, w.c.s.o.Patience)
	// Fails unless all that is mapped there is registered; there is no protection
	// to take away yet.
	if err := w.reach.do(opGrant, addr, int(w.pages*cache.PageSize)); err != nil {
		return err
	}
	if w.async {
		if err := w.reach.do(opProbe, addr, cache.PageSize); err != nil {
			return err
		}
	}
	w.c.s.guard.watch(w)
	w.live.Store(true)
	w.pager = newPager(w)
	return nil
}

func (w *window) end() int64 { return w.first + w.pages }

// at is where a page of the volume lies in the client's memory.
func (w *window) at(page int64) uintptr { return w.addr + uintptr((page-w.first)*cache.PageSize) }

// give does an operation that gives access, unless the window has ended.
func (w *window) give(op operation, first, count int64) error {
	w.access.RLock()
	defer w.access.RUnlock()
	if w.access.ended {
		return ErrClosed
	}
	if w.async {
		w.written.mark(first-w.first, count)
	}
	return w.reach.do(op, w.at(first), int(count*cache.PageSize))
}

// Protect implements cache.Mapper.
func (w *window) Protect(first, count int64) {
	w.eachWritten(first, count, func(first, count int64) {
		w.c.s.count.protects.Add(1)
		w.judge(w.reach.do(opProtect, w.at(first), int(count*cache.PageSize)))
	})
}

// eachWritten calls f with the parts of a run in which stores were ever allowed.
func (w *window) eachWritten(first, count int64, f func(first, count int64)) {
	if !w.writable || !w.live.Load() {
		return
	}
	from, end := max(first, w.first)-w.first, min(first+count, w.end())-w.first
	if from < end {
		w.written.each(from, end, func(from, n int64) { f(w.first+from, n) })
	}
}

// judge lets the client go if its address space could not be reached as it
// should. One that has ended needs no more.
func (w *window) judge(err error) {
	if err != nil && !errors.Is(err, uffd.ErrGone) && !errors.Is(err, ErrClosed) {
		w.c.detach(err)
	}
}

// Unannounced implements cache.Mapper.
func (w *window) Unannounced(page int64) {
	if w.writable {
		w.unannounced.Add(1)
	}
}

// release ends the window: nobody gets access any more, stores with the old
// access end, and what was stored is the cache's. A client that goes on faults,
// and waits for its own side to unmap.
func (w *window) release() {
	if w.deadline != nil {
		w.deadline.Stop()
	}
	w.access.Lock()
	w.access.ended = true
	w.access.Unlock()
	if w.async {
		// A pinned page cannot be taken away.
		w.pins.end()
		w.mem.Revoke(w.first, w.pages)
		// Nothing can be found any more by a userfaultfd that is closed.
		w.live.Store(false)
		closeFD(w.pagemap)
	} else {
		w.Protect(w.first, w.pages)
	}
	if w.fd != nil {
		w.c.s.guard.forget(w, w.c.letGo())
		// A userfaultfd has nothing that closing could fail to write.
		_ = w.fd.Close()
	}
	if w.pager != nil {
		w.pager.wait()
	}
	if w.reach != nil {
		w.reach.end()
	}
	w.pins.end()
	if err := w.mem.Close(); err != nil && !errors.Is(err, cache.ErrClosed) {
		w.c.s.log.Warn("closing a window", "volume", w.volume, "err", err)
	}
}
