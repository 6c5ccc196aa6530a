package cache

import (
	"sync/atomic"

	"holdfast.dev/holdfast/internal/invariants"
	"holdfast.dev/holdfast/internal/mutant"
	"holdfast.dev/holdfast/internal/seam"
)

// page names one page of a mapping and holds the place of its word. The word
// may move (its leaf is given back when nothing in it is cached), which lock
// and enter notice: they look it up afresh.
type page struct {
	m    *Mapping
	n    int64
	word *atomic.Uint64
}

// page returns page n, making the leaf that holds its word if need be.
func (m *Mapping) page(n int64) page { return page{m, n, m.leaves.make(n)} }

// find returns page n if its leaf exists: otherwise nothing of it is cached.
func (m *Mapping) find(n int64) (page, bool) {
	w := m.leaves.find(n)
	return page{m, n, w}, w != nil
}

func (p *page) load() word { return word(p.word.Load()) }

func (p *page) swap(from, to word) bool {
	return p.word.CompareAndSwap(uint64(from), uint64(to))
}

// tryLock takes the page's lock if it is free. The tasks that copy from the
// page at this moment may still be there: see drain.
func (p *page) tryLock() bool {
	seam.Point("cache.trylock", uint64(p.n))
	for {
		w := p.load()
		switch {
		case w.has(sealed):
			p.word = p.m.leaves.make(p.n)
		case w.has(locked):
			return false
		case p.swap(w, w|locked):
			return true
		}
	}
}

// lock waits for the page's lock. Who holds pages may wait only for higher ones,
// and never for a write-out, a range or room; tryLock waits for nothing.
func (p *page) lock() {
	for !p.tryLock() {
		p.wait(func(w word) bool { return !w.has(locked) })
	}
}

// drain waits until nobody copies from the page. Requires the page locked, so
// nobody comes in either.
func (p *page) drain() {
	if p.load().readers() != 0 {
		p.wait(func(w word) bool { return w.readers() == 0 })
	}
}

// lockDrained locks the page with nobody in it. With wait false it does so only
// if that takes no waiting, and says whether it did.
func (p *page) lockDrained(wait bool) bool {
	if !wait {
		return p.tryLockDrained()
	}
	p.lock()
	p.drain()
	return true
}

// tryLockDrained locks the page if nobody is in it.
func (p *page) tryLockDrained() bool {
	if !p.tryLock() {
		return false
	}
	if p.load().readers() != 0 {
		p.unlock(0, 0)
		return false
	}
	return true
}

// change clears and sets bits and keeps the lock. Requires the page locked.
func (p *page) change(clear, set word) word {
	seam.Point("cache.change", uint64(p.n))
	for {
		w := p.load()
		if to := w&^clear | set; p.swap(w, to) {
			return to
		}
	}
}

// unlock clears and sets bits and gives the lock back. Requires the page locked.
func (p *page) unlock(clear, set word) {
	seam.Point("cache.unlock", uint64(p.n))
	for {
		w := p.load()
		to := w&^(clear|locked|waiters) | set
		if invariants.Enabled {
			invariants.Check(w.has(locked), "cache: page %d unlocked twice: %v", p.n, w)
			checkWord(p.n, to)
			p.m.tags.check(p.n, to)
		}
		if p.swap(w, to) {
			if w.has(waiters) {
				p.wake()
			}
			return
		}
	}
}

// enter admits a reader of the sectors in mask, who must leave, and sets the bit
// of set: 0, or amapped for one who will let others change the page, whose sum
// proves nothing from then on. It fails without waiting where the page is locked
// or damaged, or does not have the sectors. With the word that it saw it tells
// why, and whether a shadow is to be read.
func (p *page) enter(mask uint8, set word) (word, bool) {
	seam.Point("cache.enter", uint64(p.n))
	for {
		w := p.load()
		if w.has(locked|sealed|ahead|damaged) || w.valid()&mask != mask || w&readersMask == readersMask {
			return w, false
		}
		clear := word(0)
		if set != 0 {
			clear = guarded
		}
		if p.swap(w, (w&^clear|set).touched()+readerOne) {
			return w, true
		}
	}
}

// unlockEntered gives the lock back and stays in the page as a reader.
func (p *page) unlockEntered(clear, set word) {
	w := p.change(clear, set)
	invariants.Check(w.readers() == 0, "cache: page %d: readers in a locked page", p.n)
	p.change(0, readerOne)
	p.unlock(0, 0)
}

// leave ends what enter began.
func (p *page) leave() {
	seam.Point("cache.leave", uint64(p.n))
	for {
		w := p.load()
		to := w - readerOne
		if p.swapOut(w, to, to.readers() == 0) {
			return
		}
	}
}

// swapOut is swap for who leaves without the lock: if he is the last of his kind
// those who wait are woken.
func (p *page) swapOut(from, to word, last bool) bool {
	last = last && from.has(waiters)
	if last {
		to &^= waiters
	}
	if !p.swap(from, to) {
		return false
	}
	if last {
		p.wake()
	}
	return true
}

// pinRead pins a page to read if it is free and sound, all of it is there, and its
// frame is what readers see: in one step, as if it were locked for that.
func (p *page) pinRead() bool {
	for {
		seam.Point("cache.pin", uint64(p.n))
		w := p.load()
		if w.has(locked|sealed|ahead|damaged) || w.valid() != allSectors || w.has(writeback) && !w.has(snapped) || w&rpinsMask == rpinsMask {
			return false
		}
		checkWord(p.n, w+rpinOne)
		if p.swap(w, w+rpinOne) {
			return true
		}
	}
}

// unpinRead takes a read pin away, in one step if nobody has locked the page.
func (p *page) unpinRead() {
	for {
		seam.Point("cache.unpin", uint64(p.n))
		w := p.load()
		if w.has(locked) {
			p.lock()
			w := p.load()
			p.unlock(w&rpinsMask, w&rpinsMask-rpinOne)
			return
		}
		to := w - rpinOne
		if p.swapOut(w, to, !to.has(pinsMask)) {
			return
		}
	}
}

// waitWriteback waits until the page is not under write-out. Requires that the
// caller holds no page.
func (p *page) waitWriteback() {
	p.wait(func(w word) bool { return !w.has(writeback) })
}

// wait sleeps until ok holds of the word. Sleepers share a few queues, as pages
// do in Linux (mm/filemap.c): the waiters bit says that somebody sleeps, and is
// set and read under the queue's lock so that no wake-up is lost.
func (p *page) wait(ok func(word) bool) {
	q := p.queue()
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		w := p.load()
		if ok(w) || w.has(sealed) {
			return
		}
		if mutant.On(mutant.WakeUpLost) {
			seam.Point("cache.sleep", uint64(p.n))
			p.word.Or(uint64(waiters))
			q.changed.Wait()
			continue
		}
		if w.has(waiters) || p.swap(w, w|waiters) {
			q.changed.Wait()
		}
	}
}

func (p *page) wake() {
	q := p.queue()
	q.mu.Lock()
	q.changed.Broadcast()
	q.mu.Unlock()
}

func (p *page) queue() *waitQueue {
	return &p.m.c.waits[(uint64(p.n)^p.m.id<<7)*0x9e3779b97f4a7c15>>(64-waitQueueBits)]
}

// waitQueueBits makes 256 queues: enough that strangers seldom wake each other.
const waitQueueBits = 8

type waitQueue struct {
	mu      seam.Mutex
	changed *seam.Cond
}
