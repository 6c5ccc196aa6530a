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
// clearing of what the poison replaces, faults again: such a second fault, read
// before the poison was there, is over, and must not poison what its thread may
// have left. Requires the page withdrawn, and its lock in the cache.
func (k *worker) refusePage() error {
	op := opPoison
	if k.read <= k.p.healer.poisonedAt(k.page) || k.overtaken() {
		op = opWake
	}
	k.granted = k.p.w.give(op, k.page, 1)
	if op == opPoison && k.granted == nil {
		k.p.healer.add(k.page)
	}
	return k.granted
}

// overtaken says whether what the fault asked for was given since it was read, to
// a second fault of its thread or to another thread: what was decided before that
// must not take it away. It may err to that side; then the access is asked again.
// In the asynchronous mode a store is given no more than a load.
func (k *worker) overtaken() bool {
	p := k.p
	return k.read <= p.opened.at(k.page) || (k.load || p.w.async) && k.read <= p.shown.at(k.page)
}

// given remembers for pages, several to a place, how many reads of faults had
// begun when they were last given.
type given [256]atomic.Int64

// note is called before the pages are given, with their locks in the cache held.
func (g *given) note(first, count, reads int64) {
	for n := first; n < first+count; n++ {
		g[n%int64(len(g))].Store(reads)
	}
}

func (g *given) at(page int64) int64 { return g[page%int64(len(g))].Load() }

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

// poisoned is when a page is tried next, the pause that led there, and the reads
// of faults that had begun when it was poisoned.
type poisoned struct {
	due   time.Time
	pause time.Duration
	reads int64
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
		h.mu.pages[page] = poisoned{time.Now().Add(healFirst), healFirst, h.p.reads.Load()}
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// poisonedAt returns how many reads of faults had begun when the page was
// poisoned, 0 if it is not looked after.
func (h *healer) poisonedAt(page int64) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.pages[page].reads
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
