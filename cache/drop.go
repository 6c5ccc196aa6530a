package cache

import (
	"fmt"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/rangelock"
	"holdfast.dev/holdfast/internal/seam"
)

// zeros is what partial pages are zeroed from.
var zeros [PageSize]byte

// zero makes [off, off+n) read as zeros: whole pages leave memory and how tells
// the backing, the edges are written.
//
// If the backing fails, each block of the range is zeros or a version no older
// than the last sync.
func (m *Mapping) zero(off, n int64, how func(off, n int64) error) error {
	first, end := (off+PageSize-1)/PageSize, (off+n)/PageSize
	if first >= end {
		return m.writeZeros(off, n)
	}
	if err := m.writeZeros(off, first*PageSize-off); err != nil {
		return err
	}
	if err := m.zeroPages(first, end, how); err != nil {
		return err
	}
	return m.writeZeros(end*PageSize, off+n-end*PageSize)
}

// writeZeros writes zeros into the pages of [off, off+n).
func (m *Mapping) writeZeros(off, n int64) error {
	for n > 0 {
		page, a, k := piece(off, int(min(n, PageSize)))
		if err := m.writePage(page, a, zeros[:k], true); err != nil {
			return err
		}
		off, n = off+int64(k), n-int64(k)
	}
	return nil
}

func (m *Mapping) zeroPages(first, end int64, how func(off, n int64) error) error {
	held := m.ranges.Acquire(first*PageSize, (end-first)*PageSize, rangelock.Exclusive)
	defer m.ranges.Release(held)
	if end > m.pages() {
		return m.beyond(end - 1)
	}
	return m.takeAway(first, end, how)
}

// takeAway drops the pages of [first, end) and then tells the backing. Requires
// the range held exclusively, so that nothing old comes in between, nor a new
// hold or pin, but a pin to read of what is still there.
func (m *Mapping) takeAway(first, end int64, how func(off, n int64) error) error {
	if n, ok := m.tags.held.next(first, end); ok {
		return m.heldError(n)
	}
	leaving := m.leaving.Acquire(first*PageSize, (end-first)*PageSize, rangelock.Exclusive)
	defer m.leaving.Release(leaving)
	pinned, err := m.dropPages(first, end)
	defer m.zeroAgain(pinned)
	if err == nil {
		seam.Point("cache.takeaway", uint64(first))
		err = how(first*PageSize, (end-first)*PageSize)
		// What was done has to be flushed, even if it was done in part.
		m.tags.unstable.note()
	}
	if err != nil {
		err = fmt.Errorf("cache: %s: zeroing %d bytes at %d: %w", m.o.Name, (end-first)*PageSize, first*PageSize, err)
		m.faults.lose(err)
	}
	return err
}

// awaitLeaving returns when no page of [first, end) that had left memory for good when
// it was called may still be what it was before in the backing. The caller may hold
// nothing.
func (m *Mapping) awaitLeaving(first, end int64) {
	if first < end {
		m.leaving.Release(m.leaving.Acquire(first*PageSize, (end-first)*PageSize, rangelock.Shared))
	}
}

// nextPresent returns the first page of [n, end) that has a frame.
func (m *Mapping) nextPresent(n, end int64) (page, bool) {
	for ; n < end; n++ {
		pg, ok := m.find(n)
		if !ok {
			n += leafPages - n%leafPages - 1
			continue
		}
		if pg.load().has(present) {
			return pg, true
		}
	}
	return page{}, false
}

// dropPages drops the present pages of [first, end), dirty ones too, after what
// is being written out of them is done. A pinned page cannot go: it is zeroed, and
// the caller has it zeroed again. Requires the range held exclusively.
func (m *Mapping) dropPages(first, end int64) (pinned []page, err error) {
	batch := make([]page, 0, reclaimBatch)
	flush := func() { m.dropDirty(batch); batch = batch[:0] }
	defer flush()
	for pg, ok := m.nextPresent(first, end); ok; pg, ok = m.nextPresent(pg.n+1, end) {
		if len(batch) == cap(batch) || !pg.tryLockDrained() {
			flush()
			m.lockToDrop(&pg)
		} else if pg.load().has(writeback) {
			pg.unlock(0, 0)
			flush()
			m.lockToDrop(&pg)
		}
		switch w := pg.load(); {
		case !w.has(present): // reclaim was faster
			pg.unlock(0, 0)
		case w.has(pinsMask):
			if err := m.zeroPinned(&pg, w); err != nil {
				return pinned, err
			}
			pinned = append(pinned, pg)
		default:
			batch = append(batch, pg)
		}
	}
	return pinned, nil
}

// zeroPinned makes a pinned page zeros, pins it to write, and unlocks it. Unlike a
// page that has gone it can be written to and written out before the backing has
// been told to zero it, and would then be clean with other bytes than the backing
// has: so it counts as dirty until zeroAgain. Requires the page locked and drained,
// and w its word.
func (m *Mapping) zeroPinned(pg *page, w word) error {
	if w&wpinsMask == wpinsMask {
		pg.unlock(0, 0)
		return fmt.Errorf("the page at %d: %w", pg.n*PageSize, ErrTooManyPins)
	}
	if !w.has(reserved) {
		if err := m.reserve(pg, &admission{}); err != nil {
			return err
		}
		m.countDirty()
	}
	w += wpinOne
	cure, _ := m.overwrite(pg, w, 0, zeros[:])
	m.tags.dirty.set(pg.n)
	m.tags.pinned.set(pg.n)
	pg.unlock(cure|wpinsMask, w&wpinsMask|reserved|dirtyBits(allSectors))
	return nil
}

// zeroAgain ends what zeroPinned began, when the backing has been told: the pages are
// zeros once more, and dirty. What was written to them in between comes before that,
// even if a sync has made it durable: the backing may have zeroed it since.
func (m *Mapping) zeroAgain(pages []page) {
	for i := range pages {
		pg := &pages[i]
		pg.lock()
		pg.drain()
		cure, known := m.overwrite(pg, pg.load()-wpinOne, 0, zeros[:])
		pg.change(cure, known)
		m.unpinWrite(pg, allSectors)
	}
}

// lockToDrop waits for a page that is not under write-out and not in use.
// Requires that the caller holds no page.
func (m *Mapping) lockToDrop(pg *page) {
	m.lockForWriteOut(pg, walk{wait: true, retry: true})
	pg.drain()
}

// dropDirty lets the owner of dirty pages know that they will not be written,
// and drops them. Requires the pages locked, drained and not under write-out.
func (m *Mapping) dropDirty(pages []page) {
	for i := range pages {
		pg := &pages[i]
		w := pg.load()
		if w.has(reserved) {
			m.backing.Release(pg.n*PageSize, PageSize)
			m.releaseDirty()
		}
		if w.has(failed) {
			m.countFailing(-1)
		}
	}
	m.c.drop(pages)
	m.c.throttle.wake()
}

// OnPinned says what Truncate does with pinned pages.
type OnPinned bool

const (
	// RefusePinned makes it fail with ErrPinned and change nothing.
	RefusePinned OnPinned = false
	// WaitPinned makes it wait until they are released; pins of what is to be cut
	// off wait behind it, and then fail.
	WaitPinned OnPinned = true
)

// Truncate makes the mapping size bytes long, a multiple of PageSize and at most
// what it was made with. What is cut off is discarded from the backing too, and
// reads as zeros if the mapping grows again; no page of it comes back. It fails
// with ErrHeld if a page of it is held.
func (m *Mapping) Truncate(size int64, pinned OnPinned) error {
	limit := m.arenaPages() * PageSize
	if size < 0 || size%PageSize != 0 || size > limit {
		return fmt.Errorf("cache: %s: truncate to %d bytes: a multiple of %d up to %d is possible: %w",
			m.o.Name, size, PageSize, limit, device.ErrOutOfRange)
	}
	if limit == 0 {
		return nil
	}
	// The last page is always part of it, so that two of them have an order.
	from := min(size, limit-PageSize)
	held := m.ranges.Acquire(from, limit-from, rangelock.Exclusive)
	defer m.ranges.Release(held)
	old := m.Size()
	m.pinners.close()
	defer m.pinners.open()
	if size < old {
		if n, ok := m.tags.held.next(size/PageSize, old/PageSize); ok {
			return m.heldError(n)
		}
		if err := m.passPins(size/PageSize, old/PageSize, pinned); err != nil {
			return err
		}
	}
	m.size.Store(size)
	if size >= old {
		return nil
	}
	return m.takeAway(size/PageSize, old/PageSize, m.backing.Discard)
}

// passPins waits until no page of [first, end) is pinned, or refuses. Requires
// the range held exclusively and pinners closed, so that none is pinned anew.
func (m *Mapping) passPins(first, end int64, pinned OnPinned) error {
	for pg, ok := m.nextPresent(first, end); ok; pg, ok = m.nextPresent(pg.n+1, end) {
		switch {
		case !pg.load().has(pinsMask):
		case pinned == RefusePinned:
			return fmt.Errorf("cache: %s: the page at %d cannot be cut off: %w", m.o.Name, pg.n*PageSize, ErrPinned)
		default:
			pg.wait(func(w word) bool { return !w.has(pinsMask) })
		}
	}
	return nil
}
