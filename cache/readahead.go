package cache

import "holdfast.dev/holdfast/internal/seam"

const (
	// streamCount is how many sequential readers of a mapping are told apart.
	streamCount = 8
	// firstWindow is what the second of two neighbouring misses reads ahead:
	// 128 KiB, as Linux does by default. The window doubles from there.
	firstWindow = 32
	// aheadPages is the largest window, and the most that is on its way for all
	// readers of a mapping: 4 MiB keep several requests of a disk's favourite size
	// in its queue while what came before is being copied.
	aheadPages = 1024
	// aheadRun is how much of it is read by one task: 512 KiB.
	aheadRun = 128
	// aheadShare is the part of the budget that a window may have, a sixteenth:
	// less than reclaim leaves to pages that nobody has used twice.
	aheadShare = 16
	// strayReach is by how many of its own lengths a request may be ahead of its
	// reader's others, or behind them: a client with several under way sends them
	// in order, but they do not come here in that order.
	strayReach = 2
)

// streams remembers where sequential readers are expected next.
type streams struct {
	mu seam.Mutex
	// Guarded by mu. of is in no order; clock counts what happened to them, used is
	// when something last did to a stream. underWay counts the pages that tasks
	// are reading.
	of       [streamCount]stream
	clock    uint64
	underWay int64
	// alone says that there are no tasks: readers read ahead themselves.
	alone bool
}

// stream is one reader: all up to page next has been read or is being read for
// it, window pages of that before it has come there.
type stream struct {
	next, window int64
	used         uint64
}

// span is a run of pages.
type span struct{ first, count int64 }

// find returns the stream that a request for want pages from n on belongs to.
// Requires s.mu.
func (s *streams) find(n, want int64) *stream {
	reach := strayReach * want
	if want == 1 {
		reach = 0 // most likely these are random
	}
	for i := range s.of {
		st := &s.of[i]
		if st.used != 0 && st.next-st.window-reach <= n+want && n <= st.next+reach {
			return st
		}
	}
	return nil
}

// begin makes a stream that has read up to page next, in the place of the one
// that has been still for longest. Requires s.mu.
func (s *streams) begin(next int64) *stream {
	oldest := &s.of[0]
	for i := range s.of {
		if s.of[i].used < oldest.used {
			oldest = &s.of[i]
		}
	}
	*oldest = stream{next: next}
	return oldest
}

// grow doubles the window of a stream that goes on.
func (st *stream) grow(most int64) { st.window = min(max(firstWindow, 2*st.window), most) }

// take gives out what a stream lacks up to page target, as far as not too much is
// under way already, and not a little at a time. Requires s.mu.
func (s *streams) take(st *stream, target, most int64) span {
	count := min(target-st.next, most-s.underWay)
	if s.alone || count < min(aheadRun, max(1, st.window/2)) {
		return span{}
	}
	s.underWay += count
	st.next += count
	return span{st.next - count, count}
}

// miss is told that a reader lacks the want pages from n on, of which one fill
// takes so many. It says how many pages to read with them, and what to read
// meanwhile: nothing for a miss that continues no stream, other than the rest of
// what it wants itself. Where a task is to read what is missed and has not come to
// it yet, the reader does so himself.
func (s *streams) miss(n, want, fill, most int64) (along int64, rest span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock++
	st, got := s.find(n, want), min(want, fill)
	switch {
	case st == nil:
		st = s.begin(n + got)
	case n+got > st.next:
		st.grow(most)
		along = min(st.window, fill-got)
		st.next = n + got + along
	default:
		along = min(st.next-n-got, st.window, fill-got)
	}
	st.used = s.clock
	return along, s.take(st, n+want+st.window, most)
}

// resume is told that a reader has come to page n, which was read ahead, and says
// what to read next.
func (s *streams) resume(n, most int64) span {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.find(n, 1)
	if st == nil {
		return span{}
	}
	s.clock++
	st.used = s.clock
	st.grow(most)
	return s.take(st, n+st.window, most)
}

// done is told that count pages are no longer under way.
func (s *streams) done(count int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.underWay -= count
}

// readAheadMax is the largest window.
func (m *Mapping) readAheadMax() int64 {
	return min(aheadPages, m.c.o.Budget/PageSize/aheadShare)
}

// follow notes a miss of want pages from n on, has read in the background what
// should be, and says how many pages to read with those wanted.
func (m *Mapping) follow(n, want int64) (along int64) {
	along, rest := m.streams.miss(n, want, m.c.fillPages(), m.readAheadMax())
	m.readInBackground(rest)
	return along
}

// readAhead is called when a reader meets a marker: it takes the marker away and
// has what comes next read in the background.
func (m *Mapping) readAhead(pg *page) {
	if !pg.tryLock() {
		return
	}
	met := pg.load().has(ahead)
	pg.unlock(ahead, 0)
	if met {
		m.readInBackground(m.streams.resume(pg.n, m.readAheadMax()))
	}
}

// readInBackground has tasks read the pages of a span, a run each.
func (m *Mapping) readInBackground(s span) {
	for s.count > 0 {
		first, count := s.first, min(s.count, aheadRun)
		m.background.Go("read-ahead", func() {
			defer m.streams.done(count)
			m.fillAhead(first, min(first+count, m.pages()))
		})
		s.first, s.count = s.first+count, s.count-count
	}
}

// fillAhead makes the pages of [n, end) valid that are absent. Nobody waits for
// them yet: an error is met again by who reads them.
func (m *Mapping) fillAhead(n, end int64) {
	for n < end {
		if pg, ok := m.find(n); ok && pg.load().has(present) {
			n++
			continue
		}
		read, err := m.fillRun(n, 0, end-n)
		if err != nil {
			return
		}
		n += max(1, read)
	}
}
