package cache

import (
	"errors"
	"fmt"
	"sync/atomic"

	"holdfast.dev/holdfast/internal/mutant"
	"holdfast.dev/holdfast/internal/rangelock"
)

var (
	// ErrTooManyPins says that as much is pinned as may be.
	ErrTooManyPins = errors.New("too much is pinned")
	// ErrPinned says that pages could not be cut off because they are pinned.
	ErrPinned = errors.New("pinned")
)

const (
	// maxPins is how many pins of a kind one page can have: what its word has
	// room for.
	maxPins = 1<<7 - 1
	// pinShare is the part of the dirty limit that may be pinned, a quarter: what
	// is pinned never becomes clean, and writers need room that does.
	pinShare = 4
)

// PinMode says what the holder of a pin does.
type PinMode uint8

const (
	// PinRead is for looking at the bytes.
	PinRead PinMode = iota
	// PinWrite is for changing them, at any moment and without a word.
	PinWrite
)

// Pin is a range of a mapping whose frames stay where they are. While it is held
// to write, its pages count as being written to at any moment: each write-out
// goes from a snapshot, a sync makes durable what they hold when it comes by, and
// their regions are never quiet. Reclaim leaves pinned pages, a discard zeroes
// them in place, and Truncate waits for them or refuses. The handle's Close waits
// for its pins.
//
// A Pin is a value, so that a short one allocates nothing. It must not be copied:
// each of the two would end it.
type Pin struct {
	h     *Handle
	off   int64
	bytes []byte
	mode  PinMode
	ended atomic.Bool
}

// pages are those that the range touches.
func (p *Pin) pages() (first, end int64) {
	return p.off / PageSize, (p.off + int64(len(p.bytes)) + PageSize - 1) / PageSize
}

// Pin pins [off, off+n), n above zero. To write, the owner is asked for each
// page as before a write. It fails with ErrTooManyPins, ErrRefused or ErrHeld,
// or if the pages cannot be read, and then nothing is pinned, and the Pin may be
// released or not.
func (h *Handle) Pin(off, n int64, mode PinMode) (Pin, error) {
	if err := h.begin(off, n); err != nil {
		return Pin{}, err
	}
	if err := h.m.pin(off, n, mode); err != nil {
		h.calls.leave() // a pin is a call that ends with its release
		return Pin{}, err
	}
	return Pin{h: h, off: off, bytes: h.m.arena.mem[off : off+n : off+n], mode: mode}, nil
}

func (m *Mapping) pin(off, n int64, mode PinMode) error {
	if n == 0 {
		return fmt.Errorf("cache: %s: a pin of no bytes at %d", m.o.Name, off)
	}
	first, end := off/PageSize, (off+n+PageSize-1)/PageSize
	if err := m.c.pins.take(end-first, m.c.o.DirtyLimit/PageSize/pinShare); err != nil {
		return fmt.Errorf("cache: %s: pin of %d bytes at %d: %w: a quarter of the dirty limit of %d may be",
			m.o.Name, n, off, ErrTooManyPins, m.c.o.DirtyLimit)
	}
	for i := first; i < end; i++ {
		if err := m.pinPage(i, mode); err != nil {
			m.unpin(first, i, mode, 0)
			m.c.pins.give(end - first)
			return err
		}
	}
	return nil
}

// Bytes are the pinned bytes. What is stored there is part of the volume at once.
// They are gone after the release: touching them then is a fault.
func (p *Pin) Bytes() []byte { return p.bytes }

// Release ends the pin; what it pinned to write is dirty then. A second release
// does nothing.
func (p *Pin) Release() { p.release(allSectors) }

// ReleaseUnchanged ends a pin through which nothing was stored since the pages
// were last made durable: it makes none of them dirty, but those that another
// address space has mapped writable.
func (p *Pin) ReleaseUnchanged() { p.release(0) }

func (p *Pin) release(dirty uint8) {
	if p.h == nil || p.ended.Swap(true) {
		return
	}
	first, end := p.pages()
	p.h.m.unpin(first, end, p.mode, dirty)
	p.h.m.c.pins.give(end - first)
	p.h.calls.leave()
}

// unpin takes a pin of each page of [first, end) away.
func (m *Mapping) unpin(first, end int64, mode PinMode, dirty uint8) {
	for n := first; n < end; n++ {
		pg := m.page(n)
		if mode == PinRead {
			pg.unpinRead()
			continue
		}
		pg.lock()
		m.unpinWrite(&pg, dirty)
	}
}

// tryPinRead pins a page to read if that takes no waiting and nothing is to be
// brought in. It holds no range: of a page that is there when a discard comes it does
// not matter who was first, for it is zeroed in place; a truncate closes pinners.
func (m *Mapping) tryPinRead(n int64) bool {
	if !m.pinners.enter() {
		return false
	}
	defer m.pinners.leave()
	pg, ok := m.find(n)
	return ok && pg.pinRead()
}

// unpinWrite takes a write pin away and unlocks the page. DIRTY is set before
// PINNED goes, so that no walk misses the page.
func (m *Mapping) unpinWrite(pg *page, dirty uint8) {
	w := pg.load()
	pins := w&wpinsMask - wpinOne
	if pins == 0 && w.has(wmapped) {
		// Somebody has write access, which write-outs have left him for the pin's
		// sake: the next takes it away.
		dirty = allSectors
	}
	if dirty != 0 {
		m.tags.dirty.set(pg.n)
	}
	if pins == 0 {
		m.tags.pinned.clear(pg.n)
	}
	clear := w & wpinsMask
	if to := w&^clear | pins | dirtyBits(dirty); !to.needsOwner() {
		clear |= m.release(pg)
	}
	pg.unlock(clear, pins|dirtyBits(dirty))
}

// pinPage pins one page, and waits for what that needs.
func (m *Mapping) pinPage(n int64, mode PinMode) error {
	if mode == PinRead && m.tryPinRead(n) {
		return nil
	}
	for {
		if err := m.tryPinPage(n, mode); !errors.Is(err, errAgain) {
			return err
		}
		if err := m.prefetch(n*PageSize, PageSize); err != nil {
			return err
		}
	}
}

func (m *Mapping) tryPinPage(n int64, mode PinMode) error {
	adm := admission{m: m}
	defer adm.close()
	pg := m.page(n)
	if mode == PinWrite {
		if err := adm.admit(n, pg.load()|present, true); err != nil {
			return err
		}
	}
	// A discard or truncate that is under way is over before the pin is there.
	if !mutant.On(mutant.NotifiedBesideTruncate) {
		span := m.ranges.Acquire(n*PageSize, PageSize, rangelock.Shared)
		defer m.ranges.Release(span)
	}
	pg.lock()
	pg.drain()
	w := pg.load()
	mask, one := rpinsMask, rpinOne
	if mode == PinWrite {
		mask, one = wpinsMask, wpinOne
	}
	switch {
	case n >= m.pages():
		pg.unlock(0, 0)
		return m.beyond(n)
	case w.valid() != allSectors || mode == PinWrite && !adm.suffices(w):
		pg.unlock(0, 0)
		return errAgain
	case w.has(damaged):
		pg.unlock(0, 0)
		return m.damagedError(n)
	case w.has(writeback) && !w.has(snapped):
		// The frame must hold still, or is not what readers see.
		pg.unlock(0, 0)
		pg.waitWriteback()
		return errAgain
	case mode == PinWrite && w.has(held):
		pg.unlock(0, 0)
		return m.heldError(n)
	case w&mask == mask:
		pg.unlock(0, 0)
		return fmt.Errorf("cache: %s: %w: the page at %d has %d pins already", m.o.Name, ErrTooManyPins, n*PageSize, maxPins)
	case mode == PinRead:
		pg.unlock(w&mask, w&mask+one)
		return nil
	}
	if err := m.reserve(&pg, &adm); err != nil {
		return err
	}
	if !mutant.On(mutant.PinWrittenFromFrame) {
		m.tags.pinned.set(n)
	}
	pg.unlock(w&mask|guarded, w&mask+one|reserved)
	return nil
}

// quota is a number of pages that may be in some state at once.
type quota struct{ used atomic.Int64 }

var errQuota = errors.New("quota is used up")

func (q *quota) take(n, limit int64) error {
	if q.used.Add(n) > limit {
		q.used.Add(-n)
		return errQuota
	}
	return nil
}

func (q *quota) give(n int64) { q.used.Add(-n) }
