package cache

import (
	"errors"
	"fmt"

	"holdfast.dev/holdfast/internal/mutant"
	"holdfast.dev/holdfast/internal/rangelock"
)

// errWouldWait says inside the package that a call that may not wait would have
// to.
var errWouldWait = errors.New("would wait")

// write copies p into the pages at off. With block false it fails with
// errWouldWait instead of waiting for anything.
func (m *Mapping) write(p []byte, off int64, block bool) (int, error) {
	done := 0
	for done < len(p) {
		n, a, k := piece(off+int64(done), len(p)-done)
		if err := m.writePage(n, a, p[done:done+k], block); err != nil {
			return done, err
		}
		done += k
	}
	return done, nil
}

// admission is what a write has to have before it locks its page: a place among
// the dirty pages, and for an absent page a place in the budget and the range
// held against discards. What is not used up is given back by close.
type admission struct {
	m     *Mapping
	dirty bool
	room  bool
	held  *rangelock.Held
}

func (a *admission) close() {
	if a.held != nil {
		a.m.ranges.Release(a.held)
	}
	if a.room {
		a.m.c.uncharge(1)
	}
	if a.dirty {
		a.m.c.throttle.giveBack(a.m.c)
	}
	*a = admission{m: a.m}
}

// admit gets what a write to a page with the word w needs.
func (a *admission) admit(n int64, w word, block bool) error {
	if !w.has(reserved) && !a.m.o.MemoryBacked {
		if err := a.m.c.throttle.take(a.m, block); err != nil {
			return err
		}
		a.dirty = true
	}
	if w.has(present) {
		return nil
	}
	if !a.m.c.tryCharge(1) {
		if !block {
			return errWouldWait
		}
		if err := a.m.c.charge(1); err != nil {
			return err
		}
	}
	a.room = true
	if mutant.On(mutant.NotifiedBesideTruncate) {
		return nil
	}
	if a.held = a.m.ranges.TryAcquire(n*PageSize, PageSize, rangelock.Shared); a.held == nil {
		if !block {
			return errWouldWait
		}
		a.held = a.m.ranges.Acquire(n*PageSize, PageSize, rangelock.Shared)
	}
	if n >= a.m.pages() {
		return a.m.beyond(n)
	}
	return nil
}

// suffices says whether what was got still fits the page's word: it was got
// before the page was locked.
func (a *admission) suffices(w word) bool {
	return (w.has(present) || a.room) && (w.has(reserved) || a.dirty || a.m.o.MemoryBacked)
}

// writePage copies p to byte a of page n and makes the sectors dirty.
func (m *Mapping) writePage(n int64, a int, p []byte, block bool) error {
	edges := partialSectors(a, a+len(p))
	for {
		err := m.tryWritePage(n, a, p, edges, block)
		if !errors.Is(err, errAgain) {
			return err
		}
	}
}

// errAgain says that what a write waited for has come, or that the page changed
// while it was not locked.
var errAgain = errors.New("again")

func (m *Mapping) tryWritePage(n int64, a int, p []byte, edges uint8, block bool) error {
	pg := m.page(n)
	if w := pg.load(); w.valid()&edges != edges {
		if !block {
			return errWouldWait
		}
		if err := m.prefetch(n*PageSize, PageSize); err != nil {
			return err
		}
	}
	adm := admission{m: m}
	defer adm.close()
	if err := adm.admit(n, pg.load(), block); err != nil {
		return err
	}
	if !pg.lockDrained(block) {
		return errWouldWait
	}
	w := pg.load()
	switch {
	case !adm.suffices(w), w.valid()&edges != edges:
		pg.unlock(0, 0)
		return errAgain
	case w.has(held):
		pg.unlock(0, 0)
		return m.heldError(n)
	case w.has(damaged) && len(p) < PageSize:
		pg.unlock(0, 0)
		return m.damagedError(n)
	case w.has(writeback) && !w.has(shadow|snapped) && !m.shadow(&pg):
		pg.unlock(0, 0)
		if !block {
			return errWouldWait
		}
		adm.close()
		pg.waitWriteback()
		return errAgain
	}
	return m.copyIn(&pg, &adm, a, p, 0)
}

// copyIn asks the owner, changes the bytes, and unlocks the page dirty, for
// everybody or as held. Requires the page locked and drained, and not under
// write-out unless it has a shadow or that goes from a snapshot.
func (m *Mapping) copyIn(pg *page, adm *admission, a int, p []byte, as word) error {
	w := pg.load()
	if err := m.reserve(pg, adm); err != nil {
		return err
	}
	set := reserved | as
	if !w.has(present) {
		adm.room = false
		set |= present | m.enqueue(pg)
	}
	clear, known := m.overwrite(pg, w, a, p)
	sectors := sectorMask(a, a+len(p))
	switch {
	case as.has(held):
		m.tags.held.set(pg.n)
	case w.dirty() == 0:
		m.tags.dirty.set(pg.n)
	}
	pg.unlock(clear, set|known|dirtyBits(sectors)|validBits(sectors)|(w.touched()&freqMask))
	return nil
}

// reserve asks the owner of a page that is to become dirty, unless he has agreed
// already. If he refuses the page is unlocked as it was. Requires the page
// locked.
func (m *Mapping) reserve(pg *page, adm *admission) error {
	if pg.load().has(reserved) {
		return nil
	}
	off := pg.n * PageSize
	if err := m.backing.Reserve(off, PageSize); err != nil {
		pg.unlock(0, 0)
		return fmt.Errorf("cache: %s: %w: the page at %d may not become dirty: %w", m.o.Name, ErrRefused, off, err)
	}
	adm.dirty = false
	return nil
}
