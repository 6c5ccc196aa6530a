package cache

import (
	"time"

	"holdfast.dev/holdfast/internal/seam"
)

// retryPause is how long background write-out leaves a mapping's failed pages
// alone after a failure. A sync tries them at once.
const retryPause = time.Second

// flusher is the task that writes out in the background: what is old, and what
// is above the background limit. It also keeps a little room in the budget, so
// that few have to wait for reclaim.
type flusher struct {
	alarm *seam.Alarm
	done  seam.Group
	mu    struct {
		seam.Mutex
		stopped bool
	}
	// marked is when the pages in the old sets were put there. Only the
	// flusher's task, or who calls Tick, uses it.
	marked time.Time
	// gathered is when it last looked for stores that nobody announced; used as
	// marked is.
	gathered time.Time
}

func (f *flusher) start(c *Cache) {
	f.alarm = seam.NewAlarm()
	f.marked = seam.Now()
	if c.o.Manual {
		return
	}
	f.done.Go("flusher", func() {
		for {
			f.alarm.Sleep(c.o.Interval)
			if f.isStopped() {
				return
			}
			c.background()
		}
	})
}

func (f *flusher) isStopped() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.stopped
}

func (f *flusher) stop() {
	f.mu.Lock()
	f.mu.stopped = true
	f.mu.Unlock()
	f.alarm.Ring()
	f.done.Wait()
}

func (f *flusher) wake() { f.alarm.Ring() }

// Tick does what the flusher would do at this moment if Age had passed since the
// last Tick. It is for caches that are Manual.
func (c *Cache) Tick() {
	c.flusher.marked, c.flusher.gathered = time.Time{}, time.Time{}
	c.background()
}

func (c *Cache) background() {
	now := seam.Now()
	if now.Sub(c.flusher.gathered) >= c.o.Interval {
		c.flusher.gathered = now
		for _, m := range c.mappings() {
			m.findStored(0, m.arenaPages())
		}
	}
	if now.Sub(c.flusher.marked) >= c.o.Age {
		c.flusher.marked = now
		c.writeOld()
	}
	for (c.reserved.Load() > c.o.Background/PageSize || c.throttle.slowsAnyone()) && c.writeSome(runPages*batchDepth) > 0 {
		if c.flusher.isStopped() {
			return
		}
	}
	for c.charged.Load() > c.highWater() && c.makeRoom(reclaimBatch) > 0 {
		if c.flusher.isStopped() {
			return
		}
	}
	c.prune()
}

// writeOld writes out what was dirty at the last call and still is, and marks
// what is dirty at this one: so no page stays dirty longer than twice Age.
func (c *Cache) writeOld() {
	for _, m := range c.mappings() {
		if m.o.MemoryBacked {
			continue
		}
		m.writeOut(m.tags.old, 0, m.arenaPages(), walk{retry: m.retry.due()})
		m.tags.dirty.addTo(m.tags.old, 0, m.arenaPages())
		m.tags.pinned.addTo(m.tags.old, 0, m.arenaPages())
	}
}

// writeSome writes up to most pages of each mapping out, and returns how many it
// wrote.
func (c *Cache) writeSome(most int64) (pages int64) {
	for _, m := range c.mappings() {
		if !m.o.MemoryBacked {
			pages += m.writeNext(most)
		}
	}
	return pages
}

// writeNext writes up to most dirty pages out, from where it stopped the last
// time: so pages that are always dirty again do not keep the others waiting.
func (m *Mapping) writeNext(most int64) int64 {
	end := m.arenaPages()
	from := m.cursor.Load()
	how := walk{retry: m.retry.due(), most: most}
	pages, next := m.writeOut(m.tags.dirty, from, end, how)
	if pages < most && from > 0 {
		how.most = most - pages
		more, n := m.writeOut(m.tags.dirty, 0, from, how)
		pages, next = pages+more, n
	}
	m.cursor.Store(next % end)
	return pages
}

// retryTimer says when failed pages may be tried again in the background.
type retryTimer struct {
	mu seam.Mutex
	at time.Time // guarded by mu
}

func (r *retryTimer) postpone() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = seam.Now().Add(retryPause)
}

func (r *retryTimer) due() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !seam.Now().Before(r.at)
}
