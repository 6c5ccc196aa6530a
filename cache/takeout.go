package cache

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"

	"holdfast.dev/holdfast/internal/seam"
)

// extract takes pages out of address spaces whose stores are not announced, with
// their last bytes. There the system lets a store through at any moment, up to the
// hole punch that takes the page out of all page tables. So a pipe holds on to the
// memory while the file lets go of it; when nobody can store to it any more, the
// pipe has what was stored last.
type extract struct {
	mu seam.Mutex
	// Guarded by mu: the pipe, once it is there, and the pages' bytes before stores
	// were collected, and after the punch.
	pipe          [2]int
	made          bool
	before, after []byte
}

// extractPages is how many pages are taken out at once: as many as a pipe has
// places for by default, and as reclaim frees at a time.
const extractPages = 64

// open makes the pipe; its memory is a part of what snapshots take beside the
// budget.
func (x *extract) open() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.made {
		return nil
	}
	if err := unix.Pipe2(x.pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("cache: a pipe for pages: %w", err)
	}
	if _, err := unix.FcntlInt(uintptr(x.pipe[1]), unix.F_SETPIPE_SZ, extractPages*PageSize); err != nil {
		// A user who has too many pipes gets small ones.
		_, _ = unix.Close(x.pipe[0]), unix.Close(x.pipe[1])
		return fmt.Errorf("cache: a pipe for %d pages: %w", extractPages, err)
	}
	x.before, x.after = make([]byte, extractPages*PageSize), make([]byte, extractPages*PageSize)
	x.made = true
	return nil
}

func (x *extract) close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.made {
		// Neither has anything to be written.
		_, _ = unix.Close(x.pipe[0]), unix.Close(x.pipe[1])
		x.made = false
	}
}

// fetch reads what the pipe holds on to, and lets it go.
func (x *extract) fetch(p []byte) bool {
	for len(p) > 0 {
		got, err := unix.Read(x.pipe[0], p)
		if err == unix.EINTR {
			continue
		}
		if err != nil || got <= 0 {
			return false
		}
		p = p[got:]
	}
	return true
}

// empty lets go of whatever the pipe holds on to.
func (x *extract) empty() {
	for {
		if got, err := unix.Read(x.pipe[0], x.after); err != unix.EINTR && got <= 0 {
			return
		}
	}
}

// takeOut punches a run of pages, up to extractPages, and then calls rest for each
// with the bytes that were stored to it last, and whether they are news to the
// cache: then the page is in tags.stored too. If the system has not the means at
// the moment it does nothing, and returns false. Requires the pages locked and
// drained, present, and not pinned; nobody maps them meanwhile.
func (m *Mapping) takeOut(pages []page, rest func(pg *page, last []byte, stored bool)) bool {
	x := &m.c.extract
	n, count := pages[0].n, int64(len(pages))
	frames := m.arena.frames(n, count)
	x.mu.Lock()
	defer x.mu.Unlock()
	before, after := x.before[:len(frames)], x.after[:len(frames)]
	// Copied first: what is stored between here and the collection is collected, what
	// is stored after that shows in the bytes.
	copy(before, frames)
	seam.Point("cache.takeout", uint64(n))
	m.collectAsync(n, count)
	if !m.arena.hold(x.pipe[1], n, count) {
		x.empty()
		return false
	}
	seam.Point("cache.takeout.held", uint64(n))
	m.punch(n, count)
	if !x.fetch(after) || m.arena.hasData(n, count) {
		// A page of the system's that is larger than ours, which it can clear but
		// not punch in part while it is held: stores since the collection are lost.
		copy(after, before)
		m.c.o.Log.Error("memory could not be taken back whole: large pages are in use for shared memory; "+
			"set /sys/kernel/mm/transparent_hugepage/shmem_enabled to never", "volume", m.o.Name)
		for i := range pages {
			m.tags.stored.set(pages[i].n)
		}
	}
	for i := range pages {
		pg, at := &pages[i], i*PageSize
		last := after[at : at+PageSize]
		if !bytes.Equal(last, before[at:at+PageSize]) {
			m.tags.stored.set(pg.n)
		}
		rest(pg, last, m.tags.stored.has(pg.n))
	}
	return true
}

// putBack makes bytes a page's frame again, and the page dirty if they are news.
// Requires the page locked.
func (m *Mapping) putBack(pg *page, last []byte, stored bool) {
	copy(m.arena.frames(pg.n, 1), last)
	if stored {
		m.soil(pg)
	}
}

// punch gives frames back, which takes them out of every address space.
func (m *Mapping) punch(n, count int64) {
	if m.exposed.Load() {
		for _, a := range m.attachments() {
			a.space.Unmap(n, count)
		}
	}
	m.arena.punch(n, count)
}

// rescue takes pages that are about to be dropped out of the address spaces that
// may store to them unannounced. It returns those that can go; one that was
// stored to becomes dirty instead, and is unlocked. Requires the pages neighbours,
// locked, drained and clean.
func (m *Mapping) rescue(pages []page) (rest []page) {
	rest = pages[:0]
	keep := func(pg *page) {
		pg.unlock(0, m.enqueue(pg))
	}
	taken := m.takeOut(pages, func(pg *page, last []byte, stored bool) {
		if !stored {
			rest = append(rest, *pg)
			return
		}
		m.putBack(pg, last, true)
		keep(pg)
	})
	if !taken {
		for i := range pages {
			keep(&pages[i])
		}
	}
	return rest
}

// Revoke takes count pages from first on out of every address space, so that all
// stores without an announcement end, and what was stored is known. Others who
// have them mapped find them again by a fault; a page that is pinned stays.
func (a *Attachment) Revoke(first, count int64) {
	m := a.m
	batch := make([]page, 0, extractPages)
	flush := func() {
		if len(batch) > 0 {
			m.revoke(batch)
		}
		batch = batch[:0]
	}
	end := min(first+count, m.arenaPages())
	for pg, ok := m.nextPresent(first, end); ok; pg, ok = m.nextPresent(pg.n+1, end) {
		if len(batch) == cap(batch) || len(batch) > 0 && batch[len(batch)-1].n+1 != pg.n {
			flush()
		}
		pg.lock()
		pg.drain()
		if w := pg.load(); !w.has(amapped) || w.has(pinsMask) {
			pg.unlock(0, 0)
			continue
		}
		batch = append(batch, pg)
	}
	flush()
	m.findStored(first, end)
}

// revoke takes pages out of every address space and unlocks them. Requires them
// neighbours, locked and drained.
func (m *Mapping) revoke(pages []page) {
	m.takeOut(pages, m.putBack)
	for i := range pages {
		pages[i].unlock(0, 0)
	}
}
