package cache

import (
	"fmt"

	"holdfast.dev/holdfast/internal/seam"
)

// throttle slows writers down when too much is dirty: a page that becomes dirty
// takes one of a limited number of places, and gives it back when it has been
// written out.
type throttle struct {
	mu    seam.Mutex
	freed *seam.Cond
	// waiting is how many writers wait; guarded by mu.
	waiting int
}

func (t *throttle) init() { t.freed = seam.NewCond(&t.mu) }

// take takes a place. With block false it fails with errWouldWait if none is
// free. Where every dirty page is one whose write-out fails no place will come
// free, and the writer is told why.
func (t *throttle) take(m *Mapping, block bool) error {
	c := m.c
	limit := c.o.DirtyLimit / PageSize
	for {
		taken := c.reserved.Add(1)
		if taken > c.o.Background/PageSize {
			c.flusher.wake()
		}
		if taken <= limit {
			return nil
		}
		c.reserved.Add(-1)
		if !block {
			return errWouldWait
		}
		c.counters.throttled.Add(1)
		if c.o.Manual {
			c.writeSome(runPages)
		}
		if err := t.await(m, limit); err != nil {
			return err
		}
	}
}

func (t *throttle) await(m *Mapping, limit int64) error {
	c := m.c
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting++
	c.flusher.wake()
	defer func() { t.waiting-- }()
	for c.reserved.Load() >= limit {
		if c.noneWillFree(limit) {
			return fmt.Errorf("cache: %s: %w: the dirty limit of %d bytes is used up by pages that cannot be written: %w",
				m.o.Name, ErrWriteOut, c.o.DirtyLimit, c.lastError())
		}
		t.freed.Wait()
	}
	return nil
}

// noneWillFree says whether write-out fails and every place is taken by a page
// that it fails for, or that never becomes clean because it is pinned or held.
func (c *Cache) noneWillFree(limit int64) bool {
	failing := c.failing.Load()
	return failing > 0 && failing+c.pins.used.Load()+c.holds.used.Load() >= limit
}

// slowsAnyone says whether a writer waits for a place.
func (t *throttle) slowsAnyone() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.waiting > 0
}

// giveBack gives a place back that was taken and not used.
func (t *throttle) giveBack(c *Cache) {
	c.reserved.Add(-1)
	t.wake()
}

// wake has the waiting writers look again.
func (t *throttle) wake() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting > 0 {
		t.freed.Broadcast()
	}
}

// countDirty takes a place without asking, for a page that becomes dirty
// because a flush failed.
func (m *Mapping) countDirty() {
	if !m.o.MemoryBacked {
		m.c.reserved.Add(1)
	}
}

// releaseDirty gives the place of a page that is clean back.
func (m *Mapping) releaseDirty() {
	if !m.o.MemoryBacked {
		m.c.reserved.Add(-1)
	}
}

// countFailing counts pages whose write-out fails.
func (m *Mapping) countFailing(n int64) {
	if !m.o.MemoryBacked {
		m.c.failing.Add(n)
	}
}

// lastError is the last write-out error of any mapping.
func (c *Cache) lastError() error {
	for _, m := range c.mappings() {
		if m.tags.failed.count.Load() > 0 {
			return m.errs.last()
		}
	}
	return nil
}
