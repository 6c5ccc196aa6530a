package cache

import (
	"errors"
	"fmt"
	"slices"

	"holdfast.dev/holdfast/internal/rangelock"
	"holdfast.dev/holdfast/internal/seam"
)

var (
	// ErrHeld says that a page belongs to a Hold that is not released.
	ErrHeld = errors.New("held by another writer")
	// ErrHoldsFull says that as much is held as may be.
	ErrHoldsFull = errors.New("too much is held")
)

// holdShare is the part of the dirty limit that may be held, a quarter: writers
// wait for pages to become clean, and these do not before their release.
const holdShare = 4

// Hold is a group of pages that its owner has made dirty and that nobody may
// write out until he releases them, all at once: he keeps track of them himself
// (Linux: set_page_dirty_notag, proposed in 2009). Readers see what was written.
// Others who write to, pin to write, or discard a held page are refused with
// ErrHeld; their syncs pass it by, for it holds nothing of theirs. The handle's
// Close waits for its holds.
//
// Its methods may be called from several goroutines, one after the other.
type Hold struct {
	h *Handle

	mu struct {
		seam.Mutex
		pages    map[int64]struct{}
		released bool
	}
}

// Hold begins a group.
func (h *Handle) Hold() (*Hold, error) {
	if err := h.begin(0, 0); err != nil {
		return nil, err
	}
	hd := &Hold{h: h}
	hd.mu.pages = make(map[int64]struct{})
	return hd, nil
}

// WriteAt writes p at off and holds the pages. A page that is dirty already is
// written out first. It fails with ErrHoldsFull, ErrHeld, ErrPinned, ErrAsync,
// ErrRefused, or if a page cannot be read or written out; n says how much was written
// before.
func (hd *Hold) WriteAt(p []byte, off int64) (n int, err error) {
	if err := hd.h.begin(off, int64(len(p))); err != nil {
		return 0, err
	}
	defer hd.h.calls.leave()
	hd.mu.Lock()
	defer hd.mu.Unlock()
	if hd.mu.released {
		return 0, fmt.Errorf("cache: %s: hold is released: %w", hd.h.m.o.Name, ErrClosed)
	}
	done := 0
	for done < len(p) {
		n, a, k := piece(off+int64(done), len(p)-done)
		if err := hd.writePage(n, a, p[done:done+k]); err != nil {
			return done, err
		}
		done += k
	}
	return done, nil
}

// writePage writes to one page and holds it. Requires hd.mu.
func (hd *Hold) writePage(n int64, a int, p []byte) error {
	m := hd.h.m
	_, mine := hd.mu.pages[n]
	if !mine {
		if err := m.c.holds.take(1, m.c.o.DirtyLimit/PageSize/holdShare); err != nil {
			return fmt.Errorf("cache: %s: %w: a quarter of the dirty limit of %d bytes may be: release some",
				m.o.Name, ErrHoldsFull, m.c.o.DirtyLimit)
		}
	}
	for {
		err := hd.tryWritePage(n, a, p, mine)
		switch {
		case errors.Is(err, errAgain):
			continue
		case err != nil && !mine:
			m.c.holds.give(1)
		case err == nil:
			hd.mu.pages[n] = struct{}{}
		}
		return err
	}
}

func (hd *Hold) tryWritePage(n int64, a int, p []byte, mine bool) error {
	m := hd.h.m
	edges := partialSectors(a, a+len(p))
	pg := m.page(n)
	if w := pg.load(); w.valid()&edges != edges {
		if err := m.prefetch(n*PageSize, PageSize); err != nil {
			return err
		}
	}
	adm := admission{m: m}
	defer adm.close()
	if err := adm.admit(n, pg.load(), true); err != nil {
		return err
	}
	if adm.held == nil {
		// So that no discard comes between.
		adm.held = m.ranges.Acquire(n*PageSize, PageSize, rangelock.Shared)
	}
	pg.lock()
	pg.drain()
	w := pg.load()
	switch {
	case n >= m.pages():
		pg.unlock(0, 0)
		return m.beyond(n)
	case w.has(held) && !mine:
		pg.unlock(0, 0)
		return m.heldError(n)
	case w.has(wpinsMask):
		pg.unlock(0, 0)
		return fmt.Errorf("cache: %s: the page at %d cannot be held: %w", m.o.Name, n*PageSize, ErrPinned)
	case !adm.suffices(w), w.valid()&edges != edges:
		pg.unlock(0, 0)
		return errAgain
	case !mine && (w.dirty() != 0 || w.has(writeback)):
		pg.unlock(0, 0)
		adm.close()
		return hd.clean(n)
	}
	// AttachAsync looks for held pages under the same lock.
	m.exposing.Lock()
	defer m.exposing.Unlock()
	if m.async.attached.Load() > 0 {
		pg.unlock(0, 0)
		return fmt.Errorf("cache: %s: the page at %d cannot be held: %w", m.o.Name, n*PageSize, ErrAsync)
	}
	return m.copyIn(&pg, &adm, a, p, held)
}

// clean writes out what others have made dirty, and asks for another try.
func (hd *Hold) clean(n int64) error {
	if err := hd.h.m.SyncRange(n*PageSize, PageSize); err != nil {
		return err
	}
	return errAgain
}

func (m *Mapping) heldError(n int64) error {
	return fmt.Errorf("cache: %s: the page at %d is %w", m.o.Name, n*PageSize, ErrHeld)
}

// Release makes the pages dirty like any others, all of them before anyone can
// claim one. A second release does nothing.
func (hd *Hold) Release() {
	hd.mu.Lock()
	defer hd.mu.Unlock()
	if hd.mu.released {
		return
	}
	hd.mu.released = true
	m := hd.h.m
	order := make([]int64, 0, len(hd.mu.pages))
	for n := range hd.mu.pages {
		order = append(order, n)
	}
	slices.Sort(order)
	pages := make([]page, len(order))
	for i, n := range order {
		pages[i] = m.page(n)
		pages[i].lock()
	}
	for i, n := range order {
		m.tags.dirty.set(n)
		m.tags.held.clear(n)
		pages[i].change(held, 0)
	}
	for i := range pages {
		pages[i].unlock(0, 0)
	}
	m.c.holds.give(int64(len(pages)))
	hd.h.calls.leave()
}
