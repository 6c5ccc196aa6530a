package cache

import (
	"fmt"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/rangelock"
	"holdfast.dev/holdfast/internal/seam"
)

// runPages is the longest run that is read or written at once: 1 MiB, past
// which disks gain nothing.
const runPages = 256

// fillPages is the longest run that a fill may install: no more than an eighth
// of the budget, so that a few at once do not fill it.
func (c *Cache) fillPages() int64 { return min(runPages, c.o.Budget/PageSize/8) }

// fill makes page n valid, and with one read of the backing as many after it as
// are wanted, then some ahead, as far as they are absent. It returns how many
// pages from n on, of those wanted, the caller has entered and must leave; none
// if page n was valid or had to be completed, in which case the caller looks
// again.
func (m *Mapping) fill(n, want, readAhead int64) (entered int64, err error) {
	read, err := m.fillRun(n, want, readAhead)
	return min(read, want), err
}

// fillRun is fill, and returns how many pages it has read.
func (m *Mapping) fillRun(n, want, readAhead int64) (read int64, err error) {
	limit := min(want+readAhead, m.c.fillPages(), m.pages()-n)
	if limit <= 0 {
		return 0, m.beyond(n)
	}
	if err := m.c.charge(limit); err != nil {
		return 0, err
	}
	defer func() { m.c.uncharge(limit - read) }()
	held := m.ranges.Acquire(n*PageSize, limit*PageSize, rangelock.Shared)
	defer m.ranges.Release(held)
	if n >= m.pages() {
		return 0, m.beyond(n)
	}
	pg := m.page(n)
	pg.lock()
	if w := pg.load(); w.has(present) {
		return 0, m.completePage(&pg, w)
	}
	count := 1 + m.lockAbsent(n+1, min(limit, m.pages()-n)-1)
	m.c.counters.misses.Add(1)
	m.c.counters.pagesRead.Add(count)
	seam.Point("cache.fill", uint64(n))
	m.arena.ready(n, count)
	frames := m.arena.frames(n, count)
	if _, err := m.backing.ReadAt(frames, n*PageSize); err != nil {
		m.arena.punch(n, count)
		m.unlockAbsent(n, count)
		return 0, fmt.Errorf("cache: %s: reading %d pages at %d: %w", m.o.Name, count, n*PageSize, err)
	}
	m.finishFill(n, count, want, frames)
	return count, nil
}

// lockAbsent locks pages from n on, as far as they are absent and free, and returns how
// many.
func (m *Mapping) lockAbsent(n, limit int64) (count int64) {
	for ; count < limit; count++ {
		pg := m.page(n + count)
		if !pg.tryLock() {
			break
		}
		if pg.load().has(present) {
			pg.unlock(0, 0)
			break
		}
	}
	return count
}

// unlockAbsent unlocks what lockAbsent has locked, unchanged.
func (m *Mapping) unlockAbsent(n, count int64) {
	for i := range count {
		pg := m.page(n + i)
		pg.unlock(0, 0)
	}
}

// finishFill unlocks the pages that were read, whose bytes are p, and stays in those
// wanted. At the first that was read ahead is a marker: a reader who comes there has
// what follows read. The last page is unlocked first, so that who waits for the first,
// and then for each that follows, finds all of them.
func (m *Mapping) finishFill(n, count, want int64, p []byte) {
	m.c.queues.pushRun(m, n, count)
	for i := count - 1; i >= 0; i-- {
		pg := m.page(n + i)
		set := present | queued | validBits(allSectors) | m.takeGuard(&pg, p[i*PageSize:][:PageSize])
		if i == want {
			set |= ahead
		}
		if i < want {
			pg.unlockEntered(0, set)
		} else {
			pg.unlock(0, set)
		}
	}
}

// completePage makes a present page wholly valid and unlocks it. What is valid
// stays: it may be dirty. Requires the page locked and w its word.
func (m *Mapping) completePage(pg *page, w word) error {
	if w.valid() == allSectors {
		pg.unlock(0, 0)
		return nil
	}
	if w.has(writeback) {
		// Its frame must hold still; the caller comes back.
		pg.unlock(0, 0)
		pg.waitWriteback()
		return nil
	}
	pg.drain()
	buf := pagePool.Get().(*[PageSize]byte)
	defer pagePool.Put(buf)
	if _, err := m.backing.ReadAt(buf[:], pg.n*PageSize); err != nil {
		pg.unlock(0, 0)
		return fmt.Errorf("cache: %s: completing the page at %d: %w", m.o.Name, pg.n*PageSize, err)
	}
	m.c.counters.pagesRead.Add(1)
	frame := m.arena.frames(pg.n, 1)
	for s := range sectorsPerPage {
		if w.valid()&(1<<s) == 0 {
			lo, hi := s*device.SectorSize, (s+1)*device.SectorSize
			copy(frame[lo:hi], buf[lo:hi])
		}
	}
	pg.unlock(0, validBits(allSectors)|m.takeGuard(pg, frame))
	return nil
}

// enqueue makes a page that becomes present known to reclaim, and returns the
// bit to set. Requires the page locked.
func (m *Mapping) enqueue(pg *page) word {
	if !pg.load().has(queued) {
		m.leaves.at(pg.n).queued.Add(1)
		m.c.queues.push(m, pg.n)
	}
	return queued
}

func (m *Mapping) beyond(n int64) error {
	return fmt.Errorf("cache: %s: %w: page at %d of %d bytes", m.o.Name, device.ErrOutOfRange, n*PageSize, m.Size())
}
