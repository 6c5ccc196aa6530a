package cache

import (
	"errors"
	"fmt"
	"sync/atomic"

	"holdfast.dev/holdfast/internal/invariants"
	"holdfast.dev/holdfast/internal/seam"
)

var (
	// ErrNotAsync says that stores to a mapping have to be announced, because
	// somebody may refuse them.
	ErrNotAsync = errors.New("stores have to be announced")
	// ErrAsync says that pages cannot be held, because they are mapped where
	// stores are not announced, and so cannot be kept from being stored to.
	ErrAsync = errors.New("mapped in the asynchronous mode")
)

// SpaceOwner is a Backing that can tell that it has nothing to refuse.
type SpaceOwner interface {
	// OwnsSpace says whether Reserve agrees to every page until Close.
	OwnsSpace() bool
}

// AsyncMapper has pages of a mapping in an address space whose stores are not
// announced: the first after a Collect is noticed there, and told by the next.
type AsyncMapper interface {
	AddressSpace
	// Collect calls stored for runs of the pages from first on, count of them, that
	// may have been stored to since they were mapped or last collected, and sees to
	// it that a store from then on is noticed. What was stored before Collect began
	// is told. It may tell of more, but not of the same for ever; of an address space
	// that cannot be asked any more all may have been stored to.
	//
	// No page is mapped in this mapping meanwhile, and stored may not be called after
	// it has returned. The rules of AddressSpace hold.
	Collect(first, count int64, stored func(first, count int64))
}

// async is what a mapping knows of the attachments whose stores are not announced.
type async struct {
	// attached counts them. It goes up with exposing held.
	attached atomic.Int32
	// gathering is held while they are asked, until what they told is in
	// tags.stored, so that nobody finds a page clean whose store another was told
	// of; and while pages are mapped in them.
	gathering seam.Mutex
}

// AttachAsync lets a mapper in whose stores are not announced: for owners that
// can refuse nothing, and while nothing is held; otherwise it fails with
// ErrNotAsync.
func (m *Mapping) AttachAsync(mapper AsyncMapper) (*Attachment, error) {
	if o, ok := m.backing.(SpaceOwner); !ok || !o.OwnsSpace() {
		return nil, fmt.Errorf("cache: %s: %w: the owner of the space may refuse them", m.o.Name, ErrNotAsync)
	}
	if err := m.c.extract.open(); err != nil {
		return nil, err
	}
	m.exposing.Lock()
	held := m.tags.held.any(0, m.arenaPages())
	if !held {
		m.async.attached.Add(1)
	}
	m.exposing.Unlock()
	if held {
		return nil, fmt.Errorf("cache: %s: %w: pages are held", m.o.Name, ErrNotAsync)
	}
	a, err := m.attach(&Attachment{space: mapper, async: mapper})
	if err != nil {
		m.async.attached.Add(-1)
	}
	return a, err
}

// mapAsync has pages mapped. Where one was mapped before, by whomever, its place
// in the page table may have lost a page that was stored to (the system swaps, the
// client drops pages): before it is mapped over, that is collected.
func (m *Mapping) mapAsync(a *Attachment, n, count int64, again bool, grant func(first, count int64) error) error {
	m.async.gathering.Lock()
	defer m.async.gathering.Unlock()
	if again {
		a.async.Collect(n, count, m.noteStored)
	}
	return grant(n, count)
}

// findStored finds out what was stored unannounced to the pages of [first, end) until
// now, and makes it dirty. The caller may hold no page.
func (m *Mapping) findStored(first, end int64) {
	if m.async.attached.Load() == 0 {
		return
	}
	m.collectAsync(first, end-first)
	m.settle(first, end)
}

// collectAsync asks every mapper. What was stored is in tags.stored when it
// returns, by whomever it was found.
func (m *Mapping) collectAsync(first, count int64) {
	all := m.attachments()
	m.async.gathering.Lock()
	defer m.async.gathering.Unlock()
	for _, a := range all {
		if a.async != nil {
			a.async.Collect(first, count, m.noteStored)
		}
	}
}

// noteStored notes pages that a mapper tells of, as far as they were ever mapped.
// Requires gathering.
func (m *Mapping) noteStored(first, count int64) {
	for n := first; n < first+count; n++ {
		pg, ok := m.find(n)
		if !ok {
			n += leafPages - n%leafPages - 1
			continue
		}
		if pg.load().has(amapped) {
			m.tags.stored.set(n)
		}
	}
}

// settle makes the pages of [first, end) dirty that were found to have been stored
// to. Who returns from it knows that they are, whoever found them.
func (m *Mapping) settle(first, end int64) {
	for n, ok := m.tags.stored.next(first, end); ok; n, ok = m.tags.stored.next(n+1, end) {
		seam.Point("cache.settle", uint64(n))
		pg := m.page(n)
		pg.lock()
		if m.tags.stored.has(n) {
			m.soil(&pg)
		}
		pg.unlock(0, 0)
	}
}

// soil makes a page dirty that was stored to. Its owner has agreed beforehand, to
// everything; nobody waits for the dirty limit, for the store has happened.
// Requires the page locked.
func (m *Mapping) soil(pg *page) {
	w := pg.load()
	if w.has(amapped) {
		if !w.has(reserved) {
			err := m.backing.Reserve(pg.n*PageSize, PageSize)
			invariants.Check(err == nil, "cache: an owner of its space refuses page %d: %v", pg.n, err)
			m.countDirty()
		}
		m.tags.dirty.set(pg.n)
		pg.change(0, reserved|dirtyBits(allSectors))
	}
	m.tags.stored.clear(pg.n)
}

// collect has the mappers notice stores to the run from now on. What was stored
// before is part of the snapshot that is made next; left uncollected it would be
// found later, and written once more.
func (r *run) collect() {
	m := r.m
	all := m.attachments()
	m.async.gathering.Lock()
	defer m.async.gathering.Unlock()
	for _, a := range all {
		if a.async != nil {
			a.async.Collect(r.n, r.count, func(int64, int64) {})
		}
	}
	for i := range r.count {
		m.tags.stored.clear(r.n + i)
	}
}
