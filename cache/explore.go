//go:build explore

package cache

// Reclaim drops up to want pages that can leave, as a task would that needs room:
// the budget of a cache that is explored is never used up.
func (c *Cache) Reclaim(want int64) (freed int64) { return c.evict(want) }
