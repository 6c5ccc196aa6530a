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
// the range held exclusively, so that nothing old comes in between.
func (m *Mapping) takeAway(first, end int64, how func(off, n int64) error) error {
	m.dropPages(first, end)
	seam.Point("cache.takeaway", uint64(first))
	err := how(first*PageSize, (end-first)*PageSize)
	// What was done has to be flushed, even if it was done in part.
	m.tags.unstable.note()
	if err != nil {
		return fmt.Errorf("cache: %s: zeroing %d bytes at %d: %w", m.o.Name, (end-first)*PageSize, first*PageSize, err)
	}
	return nil
}

// dropPages drops the present pages of [first, end), dirty ones too, after what
// is being written out of them is done. Requires the range held exclusively.
func (m *Mapping) dropPages(first, end int64) {
	batch := make([]page, 0, reclaimBatch)
	for n := first; n < end; n++ {
		if m.leaves.find(n) == nil {
			n += leafPages - n%leafPages - 1
			continue
		}
		pg := m.page(n)
		if !pg.load().has(present) {
			continue
		}
		if len(batch) == cap(batch) || !pg.tryLockDrained() {
			m.dropDirty(batch)
			batch = batch[:0]
			m.lockToDrop(&pg)
		} else if pg.load().has(writeback) {
			pg.unlock(0, 0)
			m.dropDirty(batch)
			batch = batch[:0]
			m.lockToDrop(&pg)
		}
		if !pg.load().has(present) { // reclaim was faster
			pg.unlock(0, 0)
			continue
		}
		batch = append(batch, pg)
	}
	m.dropDirty(batch)
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

// Truncate makes the mapping size bytes long, a multiple of PageSize and at most
// what it was made with. What is cut off is discarded from the backing too, and
// reads as zeros if the mapping grows again; no page of it comes back.
func (m *Mapping) Truncate(size int64) error {
	limit := m.arenaPages() * PageSize
	if size < 0 || size%PageSize != 0 || size > limit {
		return fmt.Errorf("cache: %s: truncate to %d bytes: a multiple of %d up to %d is possible: %w",
			m.o.Name, size, PageSize, limit, device.ErrOutOfRange)
	}
	if limit == 0 {
		return nil
	}
	// Everything is held, so that two of them have an order.
	held := m.ranges.Acquire(0, limit, rangelock.Exclusive)
	defer m.ranges.Release(held)
	old := m.size.Swap(size)
	if size >= old {
		return nil
	}
	return m.takeAway(size/PageSize, old/PageSize, m.backing.Discard)
}
