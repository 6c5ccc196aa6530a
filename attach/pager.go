package attach

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/internal/uffd"
)

// pager serves the faults of a window. Of its workers one waits for faults; when
// it has some it goes to serve one of them, and the next takes its place. So no
// fault changes hands between its arrival and its answer, and one that waits for
// a disk holds up no other.
type pager struct {
	w       *window
	workers sync.WaitGroup
	streams streams
	healer  *healer

	// reads counts how often faults were asked for; it changes with mu held. The others
	// have it of when pages were last mapped to load, or to store, or refused.
	reads                  atomic.Int64
	shown, opened, refused answered

	mu struct {
		sync.Mutex
		buf    [faultsMost]uffd.Fault
		faults []uffd.Fault // of buf, to be served
	}
}

func newPager(w *window) *pager {
	p := &pager{w: w}
	p.healer = newHealer(p)
	for range faultWorkers {
		p.workers.Go(newWorker(p).run)
	}
	return p
}

// wait returns when nothing is served any more, after the userfaultfd was closed.
func (p *pager) wait() {
	p.workers.Wait()
	p.healer.end()
}

// next returns a fault to serve, and the number of the read that brought it.
func (p *pager) next() (f uffd.Fault, read int64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.mu.faults) == 0 {
		p.reads.Add(1)
		n, err := p.w.fd.ReadFaults(p.mu.buf[:])
		if err != nil {
			return f, 0, err
		}
		p.mu.faults = p.mu.buf[:n]
	}
	f = p.mu.faults[0]
	p.mu.faults = p.mu.faults[1:]
	return f, p.reads.Load(), nil
}

// worker serves one fault at a time. Its grants are made once, so that serving
// allocates nothing.
type worker struct {
	p    *pager
	page int64
	kind uffd.Kind
	load bool  // not a store
	read int64 // the read that brought the fault
	// granted is the error of the last attempt to give access.
	granted         error
	toRead, toWrite func(first, count int64) error
	toRefuse        func() error
}

func newWorker(p *pager) *worker {
	k := &worker{p: p}
	k.toRead, k.toWrite, k.toRefuse = k.grantRead, k.grantWrite, k.refusePage
	return k
}

func (k *worker) run() {
	for {
		f, read, err := k.p.next()
		switch {
		case errors.Is(err, ErrClosed):
			return
		case err != nil:
			k.p.w.judge(err)
			return
		}
		k.read = read
		k.serve(f)
	}
}

func (k *worker) serve(f uffd.Fault) {
	w := k.p.w
	if f.Addr < w.addr || f.Addr >= w.at(w.end()) {
		w.judge(fmt.Errorf("%w: a fault at %#x, outside of window %d", errProtocol, f.Addr, w.id))
		return
	}
	if f.Write && !w.writable {
		w.judge(fmt.Errorf("%w: window %d is for reading only, and was stored to", errProtocol, w.id))
		return
	}
	k.page, k.kind, k.granted = w.first+int64(f.Addr-w.addr)/cache.PageSize, f.Kind, nil
	k.load = !f.Write
	var err error
	switch {
	case f.Write && w.async:
		// Mapped without write access: the kernel notes the store, and gives it.
		w.c.s.count.writeFaults.Add(1)
		err = w.mem.WriteFault(k.page, min(w.around.Load(), w.end()-k.page), k.toRead)
	case f.Write:
		w.c.s.count.writeFaults.Add(1)
		most := k.p.streams.most(k.page)
		err = w.mem.WriteFault(k.page, min(most, w.end()-k.page), k.toWrite)
	default:
		w.c.s.count.readFaults.Add(1)
		err = w.mem.ReadFault(k.page, min(w.around.Load(), w.end()-k.page), k.toRead)
	}
	switch {
	case k.granted != nil:
		w.judge(k.granted)
	case err != nil:
		k.refuse(err)
	}
}

func (k *worker) grantRead(first, count int64) error {
	k.granted = k.p.w.give(opShow, first, count)
	k.p.shown.note(first, count, k.p.reads.Load())
	return k.granted
}

func (k *worker) grantWrite(first, count int64) error {
	w := k.p.w
	w.written.mark(first-w.first, count)
	op := opOpen
	if count == 1 && k.kind == uffd.WriteProtect {
		op = opGrant
	}
	k.granted = w.give(op, first, count)
	k.p.opened.note(first, count, k.p.reads.Load())
	if k.granted == nil {
		k.p.streams.granted(first, count)
	}
	return k.granted
}

// bringIn maps the pages of [first, end), as WillNeed asks for. What cannot be
// brought in is left to the fault that asks for it.
func (p *pager) bringIn(first, end int64) {
	k := newWorker(p)
	reached := first
	show := func(first, count int64) error {
		reached = first + count
		return k.grantRead(first, count)
	}
	for first < end {
		if err := p.w.mem.ReadFault(first, min(aroundSequential, end-first), show); err != nil {
			if k.granted != nil {
				p.w.judge(k.granted)
			}
			return
		}
		first = reached
	}
}

// streams follows sequential stores, so that a fault opens more pages each time
// a sequence comes to the end of what it has.
type streams struct {
	mu struct {
		sync.Mutex
		of   [writeStreams]stream
		turn int
	}
}

// stream is a sequence of stores: the page after those opened, and how many
// the last fault opened.
type stream struct{ next, opened int64 }

// most returns how many pages a store to page should open.
func (s *streams) most(page int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.mu.of {
		if a := s.mu.of[i]; a.opened > 0 && a.next == page {
			return min(2*a.opened, writeMost)
		}
	}
	return 1
}

// granted notes what was opened.
func (s *streams) granted(first, count int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.mu.of {
		if a := &s.mu.of[i]; a.opened > 0 && a.next == first {
			*a = stream{first + count, count}
			return
		}
	}
	s.mu.of[s.mu.turn] = stream{first + count, count}
	s.mu.turn = (s.mu.turn + 1) % writeStreams
}
