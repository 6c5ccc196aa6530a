package attach

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"holdfast.dev/holdfast/cache"
)

// refuse makes the access that faulted fail, with SIGBUS or EFAULT. The kernel
// poisons a page only where nothing is mapped, and only punching the memory
// takes a page out of another process: so the cache withdraws the page, and the
// poison is put in its place before anybody can map it again.
func (k *worker) refuse(why error) {
	w := k.p.w
	w.c.s.count.refused.Add(1)
	w.c.s.o.Log.Debug("access refused", "pid", w.c.cred.Pid, "volume", w.volume, "page", k.page, "err", why)
	withdrawn, err := w.mem.Withdraw(k.page, k.toRefuse)
	switch {
	case k.granted != nil:
		w.judge(k.granted)
	case err != nil:
		w.judge(fmt.Errorf("page %d could not be refused: %w", k.page, err))
	case withdrawn:
	default:
		// Somebody has write access to the page by now, so its owner agrees; or the
		// page is pinned, and cannot be taken away. Either way it is asked again.
		time.Sleep(askAgain)
		w.judge(w.reach.do(opWake, w.at(k.page), cache.PageSize))
	}
}

// refusePage puts the poison in place. A thread that a signal wakes, or the
// clearing of what the poison replaces, faults again, and two threads may fault on
// one page: a fault that was answered so before it came here must not poison what its
// thread has left. Requires the page withdrawn, and its lock in the cache.
func (k *worker) refusePage() error {
	p := k.p
	if k.overtaken() {
		k.granted = p.w.give(opWake, k.page, 1)
		return k.granted
	}
	k.granted = p.w.give(opPoison, k.page, 1)
	p.refused.note(k.page, 1, p.reads.Load())
	if k.granted == nil {
		p.healer.add(k.page)
	}
	return k.granted
}

// overtaken says whether the page was refused since the fault was read, or given as
// the fault asked for: its thread was woken then, and may have gone on, so what was
// decided before must not take the page away. It may err to that side; then the access
// is asked again. In the asynchronous mode a store is given no more than a load.
func (k *worker) overtaken() bool {
	p := k.p
	return k.read <= p.refused.at(k.page) || k.read <= p.opened.at(k.page) ||
		(k.load || p.w.async) && k.read <= p.shown.at(k.page)
}

// answered remembers for pages, several to a place, how many reads of faults had
// begun when they were last answered in some way. It forgets none: a worker that gets
// no processor may come with a fault at any time.
type answered [256]atomic.Int64

// note is called after the answer, which a fault may have been read just before, with
// the pages' locks in the cache held.
func (a *answered) note(first, count, reads int64) {
	for n := first; n < first+count; n++ {
		at := &a[n%int64(len(a))]
		for was := at.Load(); was < reads && !at.CompareAndSwap(was, reads); was = at.Load() {
		}
	}
}

func (a *answered) at(page int64) int64 { return a[page%int64(len(a))].Load() }

// healer offers refused pages again: what could not be read before, or not be
// stored to, may be possible later, and reading a page whose store was refused
// has to be. A store to it is asked afresh.
type healer struct {
	p     *pager
	wake  chan struct{}
	stop  chan struct{}
	ended chan struct{}

	mu struct {
		sync.Mutex
		pages map[int64]poisoned
	}
}

// poisoned is when a page is tried next, and the pause that led there.
type poisoned struct {
	due   time.Time
	pause time.Duration
}

func newHealer(p *pager) *healer {
	h := &healer{p: p, wake: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{})}
	h.mu.pages = make(map[int64]poisoned)
	go h.run()
	return h
}

// add begins to look after a page.
func (h *healer) add(page int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.mu.pages) < poisonedMost {
		h.mu.pages[page] = poisoned{time.Now().Add(healFirst), healFirst}
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *healer) end() {
	close(h.stop)
	<-h.ended
}

func (h *healer) run() {
	defer close(h.ended)
	k := newWorker(h.p)
	for {
		page, pause := h.earliest()
		select {
		case <-h.stop:
			return
		case <-h.wake:
			continue
		case <-time.After(pause):
		}
		if page < 0 {
			continue
		}
		err := h.p.w.mem.ReadFault(page, 1, k.toRead)
		if k.granted != nil {
			h.p.w.judge(k.granted)
		}
		h.tried(page, err)
	}
}

// earliest returns the page to be tried first, and in how long; -1 if there is
// none.
func (h *healer) earliest() (page int64, in time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	page, in = -1, time.Hour
	for n, p := range h.mu.pages {
		if until := time.Until(p.due); until < in {
			page, in = n, until
		}
	}
	return page, in
}

// tried notes what an attempt came to.
func (h *healer) tried(page int64, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		delete(h.mu.pages, page)
		return
	}
	p := h.mu.pages[page]
	p.pause = min(2*p.pause, healLast)
	p.due = time.Now().Add(p.pause)
	h.mu.pages[page] = p
}
