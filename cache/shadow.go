package cache

import (
	"bytes"
	"sync"

	"holdfast.dev/holdfast/internal/invariants"
	"holdfast.dev/holdfast/internal/seam"
)

// pagePool holds page-sized buffers for shadows and for completing pages.
var pagePool = sync.Pool{New: func() any { return new([PageSize]byte) }}

// shadows holds what was written to pages while they were under write-out. A
// page has at most one: a second write goes into it, and it is written out only
// after fold has made it the page's frame, when the original is on disk. So a
// page's bytes exist at most twice (the first seed's copy before modification).
type shadows struct {
	mu seam.Mutex
	// of has the shadow of each page whose word has the shadow bit.
	of map[int64]*[PageSize]byte
}

func (s *shadows) init() { s.of = make(map[int64]*[PageSize]byte) }

// get returns the shadow of page n, whose word says that it has one.
func (s *shadows) get(n int64) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[n][:]
}

// shadow gives a page under write-out a shadow that holds what its frame does,
// if policy and budget allow and nobody looks at the frame itself. Requires the
// page locked and drained.
func (m *Mapping) shadow(pg *page) bool {
	if m.o.Stability != StabilityCopy || pg.load().has(pinsMask) || !m.c.tryCharge(1) {
		return false
	}
	buf := pagePool.Get().(*[PageSize]byte)
	copy(buf[:], m.arena.frames(pg.n, 1))
	m.shadows.mu.Lock()
	invariants.Check(m.shadows.of[pg.n] == nil, "cache: page %d has two shadows", pg.n)
	m.shadows.of[pg.n] = buf
	m.shadows.mu.Unlock()
	// The shadow bit is set together with the dirty sectors, in one change:
	// nobody sees it earlier, for the page is locked.
	pg.change(0, shadow)
	m.c.counters.shadows.Add(1)
	return true
}

// fold makes a page's shadow its frame. Requires the page locked and drained,
// and its write-out done.
func (m *Mapping) fold(pg *page) {
	m.shadows.mu.Lock()
	buf := m.shadows.of[pg.n]
	delete(m.shadows.of, pg.n)
	m.shadows.mu.Unlock()
	copy(m.arena.frames(pg.n, 1), buf[:])
	pagePool.Put(buf)
	m.c.uncharge(1)
}

// writeShadow writes a page's shadow out beside its original, and takes the page for
// clean if nothing was written to it meanwhile: a mistake. Requires the page locked,
// and unlocks it.
func (m *Mapping) writeShadow(pg *page) {
	copied := bytes.Clone(m.shadows.get(pg.n))
	pg.unlock(0, 0)
	_, err := m.backing.WriteAt(copied, pg.n*PageSize)
	pg.waitWriteback()
	pg.lock()
	w := pg.load()
	if err != nil || w.dirty() == 0 || w.has(writeback) || !bytes.Equal(m.arena.frames(pg.n, 1), copied) {
		pg.unlock(0, 0)
		return
	}
	r := run{m: m, n: pg.n, count: 1}
	r.claim()
	r.complete(nil)
	r.giveBack()
}
