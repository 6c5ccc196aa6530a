package cache

import (
	"math/bits"
	"sync/atomic"

	"holdfast.dev/holdfast/internal/mutant"
	"holdfast.dev/holdfast/internal/seam"
)

// tree is a set of page numbers: a bitmap with summaries, 64 bits to a word, so
// that the next member is a few loads away however sparse the set is. It is
// what a radix tree's tag is in Linux (lib/xarray.c), with the tree left out.
//
// The lowest two levels live in chunks of 32768 pages (128 MiB of volume) that
// are allocated when first used and each have a lock; the levels above, one
// summary bit for each chunk that is not empty, share one lock that is taken
// only when a chunk becomes empty or ceases to be.
//
// Invariant: a summary bit is set exactly if what it sums up is not empty,
// whenever the lock that guards it is free.
type tree struct {
	chunks []atomic.Pointer[chunk]
	// count is the number of members.
	count atomic.Int64

	top struct {
		seam.Mutex
		// summary has a bit for each chunk.
		summary []uint64
	}
}

const (
	chunkWords = 512
	chunkPages = chunkWords * 64
)

// chunk holds 32768 members and their first summary. Its lock comes before the
// tree's top lock.
type chunk struct {
	mu      seam.Mutex
	summary [chunkWords / 64]uint64
	words   [chunkWords]uint64
}

func newTree(pages int64) *tree {
	n := (pages + chunkPages - 1) / chunkPages
	t := &tree{chunks: make([]atomic.Pointer[chunk], n)}
	t.top.summary = make([]uint64, (n+63)/64)
	return t
}

// set puts n in.
func (t *tree) set(n int64) { t.setWord(n/64, 1<<(n%64)) }

// setWord puts in the members of mask, a bitmap of pages 64*w and following.
func (t *tree) setWord(w int64, mask uint64) {
	ci, i := w/chunkWords, int(w%chunkWords)
	c := t.chunks[ci].Load()
	if c == nil {
		t.chunks[ci].CompareAndSwap(nil, new(chunk))
		c = t.chunks[ci].Load()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	fresh := mask &^ c.words[i]
	if fresh == 0 {
		return
	}
	t.count.Add(int64(bits.OnesCount64(fresh)))
	was := c.words[i]
	c.words[i] |= mask
	if was != 0 {
		return
	}
	if mutant.On(mutant.SummaryLate) {
		c.mu.Unlock()
		seam.Point("cache.summary", uint64(w*64))
		c.mu.Lock()
	}
	empty := c.empty()
	c.summary[i/64] |= 1 << (i % 64)
	if empty {
		t.top.Lock()
		t.top.summary[ci/64] |= 1 << (ci % 64)
		t.top.Unlock()
	}
}

// clear takes n out.
func (t *tree) clear(n int64) { t.clearWord(n/64, 1<<(n%64)) }

func (t *tree) clearWord(w int64, mask uint64) {
	ci, i := w/chunkWords, int(w%chunkWords)
	c := t.chunks[ci].Load()
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	gone := mask & c.words[i]
	if gone == 0 {
		return
	}
	t.count.Add(-int64(bits.OnesCount64(gone)))
	c.words[i] &^= mask
	if c.words[i] != 0 {
		return
	}
	c.summary[i/64] &^= 1 << (i % 64)
	if c.empty() {
		t.top.Lock()
		t.top.summary[ci/64] &^= 1 << (ci % 64)
		t.top.Unlock()
	}
}

// has says whether n is in.
func (t *tree) has(n int64) bool {
	c := t.chunks[n/chunkPages].Load()
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.words[n/64%chunkWords]&(1<<(n%64)) != 0
}

// next returns the lowest member in [n, end).
func (t *tree) next(n, end int64) (int64, bool) {
	for n < end {
		ci := n / chunkPages
		if c := t.chunks[ci].Load(); c != nil {
			if m, ok := c.next(int(n % chunkPages)); ok {
				m := ci*chunkPages + int64(m)
				return m, m < end
			}
		}
		t.top.Lock()
		next, ok := nextBit(t.top.summary, ci+1)
		t.top.Unlock()
		if !ok {
			return 0, false
		}
		n = next * chunkPages
	}
	return 0, false
}

// any says whether [n, end) holds a member.
func (t *tree) any(n, end int64) bool {
	if t.count.Load() == 0 {
		return false
	}
	_, ok := t.next(n, end)
	return ok
}

// addTo puts the members of t in [n, end) into dst as well, a word at a time.
// A member that is in t throughout is not missed.
func (t *tree) addTo(dst *tree, n, end int64) {
	for {
		m, ok := t.next(n, end)
		if !ok {
			return
		}
		w := m / 64
		mask := t.wordAt(w)
		if lo := n - w*64; lo > 0 {
			mask &= ^uint64(0) << lo
		}
		if hi := end - w*64; hi < 64 {
			mask &= 1<<hi - 1
		}
		dst.setWord(w, mask)
		n = (w + 1) * 64
	}
}

func (t *tree) wordAt(w int64) uint64 {
	c := t.chunks[w/chunkWords].Load()
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.words[w%chunkWords]
}

func (c *chunk) empty() bool { return c.summary == [chunkWords / 64]uint64{} }

func (c *chunk) next(n int) (int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.words[n/64] >> (n % 64); w != 0 {
		return n + bits.TrailingZeros64(w), true
	}
	i, ok := nextBit(c.summary[:], int64(n/64+1))
	if !ok {
		return 0, false
	}
	return int(i)*64 + bits.TrailingZeros64(c.words[i]), true
}

// nextBit returns the lowest set bit of the bitmap from bit n on.
func nextBit(words []uint64, n int64) (int64, bool) {
	for i := n / 64; i < int64(len(words)); i++ {
		w := words[i]
		if i == n/64 {
			w &= ^uint64(0) << (n % 64)
		}
		if w != 0 {
			return i*64 + int64(bits.TrailingZeros64(w)), true
		}
	}
	return 0, false
}
