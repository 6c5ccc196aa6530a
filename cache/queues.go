package cache

import "holdfast.dev/holdfast/internal/seam"

// queues order the pages for reclaim after S3-FIFO (Yang et al., SOSP 2023): a
// small queue for pages that have just come, a main queue for those that were
// used again, and a ghost that remembers which left the small queue lately. A
// scan flows through the small queue and leaves the main one alone.
//
// An entry names a page; the page's queued bit says that it has one. A page that
// is dropped keeps its entry until reclaim comes by.
type queues struct {
	mu seam.Mutex
	// Guarded by mu.
	small, main fifo
	ghost       []uint32
	smallTarget int
}

// smallShare is the part of the budget that the small queue may hold before it
// is reclaimed from: a tenth, as in the paper.
const smallShare = 10

type entry struct {
	m *Mapping
	n int64
}

func (q *queues) init(budgetPages int64) {
	q.smallTarget = int(max(1, budgetPages/smallShare))
	size := int64(64)
	for size < budgetPages {
		size *= 2
	}
	q.ghost = make([]uint32, size)
}

// push enters a page that became present.
func (q *queues) push(m *Mapping, n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.enter(entry{m, n})
}

// pushRun enters those of count pages from n on that no entry names. Requires the
// pages locked.
func (q *queues) pushRun(m *Mapping, n, count int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := n; i < n+count; i++ {
		pg := m.page(i)
		if !pg.load().has(queued) {
			m.leaves.at(i).queued.Add(1)
			q.enter(entry{m, i})
		}
	}
}

// enter puts an entry where it belongs. Requires q.mu.
func (q *queues) enter(e entry) {
	if slot, mark := q.ghostSlot(e); q.ghost[slot] == mark {
		q.main.push(e)
		return
	}
	q.small.push(e)
}

// pop takes out the entry whose turn it is, and says whether it was in main.
func (q *queues) pop() (e entry, fromMain, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.small.len() > q.smallTarget || q.main.len() == 0 {
		if e, ok = q.small.pop(); ok {
			return e, false, true
		}
	}
	e, ok = q.main.pop()
	return e, true, ok
}

// putBack enters an entry again that pop has given.
func (q *queues) putBack(e entry, toMain bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if toMain {
		q.main.push(e)
		return
	}
	q.small.push(e)
}

// remember notes that a page has left the small queue and memory.
func (q *queues) remember(e entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	slot, mark := q.ghostSlot(e)
	q.ghost[slot] = mark
}

func (q *queues) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.small.len() + q.main.len()
}

// ghostSlot returns where the ghost keeps the page's mark. A page that falls on
// another's slot displaces it: old ones fade.
func (q *queues) ghostSlot(e entry) (slot int, mark uint32) {
	h := (uint64(e.n) ^ e.m.id<<48) * 0x9e3779b97f4a7c15
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	return int(h>>32) & (len(q.ghost) - 1), uint32(h) | 1
}

// fifo is a ring that grows.
type fifo struct {
	ring        []entry
	head, count int
}

func (f *fifo) len() int { return f.count }

func (f *fifo) push(e entry) {
	if f.count == len(f.ring) {
		bigger := make([]entry, max(64, 2*len(f.ring)))
		for i := range f.count {
			bigger[i] = f.ring[(f.head+i)%len(f.ring)]
		}
		f.ring, f.head = bigger, 0
	}
	f.ring[(f.head+f.count)%len(f.ring)] = e
	f.count++
}

func (f *fifo) pop() (entry, bool) {
	if f.count == 0 {
		return entry{}, false
	}
	e := f.ring[f.head]
	f.ring[f.head] = entry{}
	f.head = (f.head + 1) % len(f.ring)
	f.count--
	return e, true
}
