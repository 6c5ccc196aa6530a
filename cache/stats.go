package cache

import "sync/atomic"

// counters count since the cache was made.
type counters struct {
	hits, misses, pagesRead     atomic.Int64
	runsWritten, pagesWritten   atomic.Int64
	evicted, shadows, throttled atomic.Int64
	unannounced, damaged        atomic.Int64
}

// Stats says how a cache is doing. Sizes are bytes.
type Stats struct {
	// Budget is the limit of Resident, which counts frames and shadows.
	Budget   int64 `json:"budget"`
	Resident int64 `json:"resident"`
	// DirtyLimit is the limit of Dirty, which counts the pages that are dirty
	// or under write-out; Failed, those whose last write-out failed.
	DirtyLimit int64 `json:"dirty_limit"`
	Dirty      int64 `json:"dirty"`
	Failed     int64 `json:"failed"`
	// SlowHits counts the pages found in memory by reads that could wait (those
	// that TryReadAt served are not counted); Misses, reads of the backing;
	// Read, the bytes they brought.
	SlowHits int64 `json:"slow_hits"`
	Misses   int64 `json:"misses"`
	Read     int64 `json:"read"`
	// WrittenRuns and Written count writes to the backing and their bytes.
	WrittenRuns int64 `json:"written_runs"`
	Written     int64 `json:"written"`
	// Evicted counts pages that reclaim dropped, Shadows how often a page was
	// copied before modification, Throttled how often a writer had to wait for
	// the dirty limit.
	Evicted   int64 `json:"evicted"`
	Shadows   int64 `json:"shadows"`
	Throttled int64 `json:"throttled"`
	// Pinned and Held are bytes; Unannounced counts pages that were changed in
	// memory by somebody who had not said so; Damaged, those found to have changed
	// where nobody could have done it.
	Pinned      int64 `json:"pinned"`
	Held        int64 `json:"held"`
	Unannounced int64 `json:"unannounced"`
	Damaged     int64 `json:"damaged"`
}

// Stats returns the figures of the moment. It waits for nothing.
func (c *Cache) Stats() Stats {
	n := &c.counters
	return Stats{
		Budget:      c.o.Budget,
		Resident:    c.charged.Load() * PageSize,
		DirtyLimit:  c.o.DirtyLimit,
		Dirty:       c.reserved.Load() * PageSize,
		Failed:      c.failing.Load() * PageSize,
		SlowHits:    n.hits.Load(),
		Misses:      n.misses.Load(),
		Read:        n.pagesRead.Load() * PageSize,
		WrittenRuns: n.runsWritten.Load(),
		Written:     n.pagesWritten.Load() * PageSize,
		Evicted:     n.evicted.Load(),
		Shadows:     n.shadows.Load(),
		Throttled:   n.throttled.Load(),
		Pinned:      c.pins.used.Load() * PageSize,
		Held:        c.holds.used.Load() * PageSize,
		Unannounced: n.unannounced.Load(),
		Damaged:     n.damaged.Load(),
	}
}
