package cache

import (
	"sync/atomic"

	"holdfast.dev/holdfast/internal/seam"
)

const (
	// streamCount is how many sequential readers of a mapping are told apart.
	streamCount = 8
	// firstWindow is what the second of two neighbouring misses reads ahead:
	// 128 KiB, as Linux does by default. The window doubles from there.
	firstWindow = 32
	// readAheadTasks is how many windows of a mapping are read in the
	// background at once.
	readAheadTasks = 4
)

// streams remembers where sequential readers are expected next.
type streams struct {
	mu seam.Mutex
	// Guarded by mu. of is in no order; clock counts the misses, used is when a
	// stream last had one.
	of    [streamCount]stream
	clock uint64

	tasks atomic.Int64
}

type stream struct {
	next, window int64
	used         uint64
}

// window says how many pages to read beyond the want pages from n on: none for
// a miss that continues no stream.
func (s *streams) window(n, want, most int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock++
	oldest := &s.of[0]
	for i := range s.of {
		st := &s.of[i]
		if st.used != 0 && st.next == n {
			st.window = min(max(firstWindow, st.window*2), most)
			st.next = n + want + st.window
			st.used = s.clock
			return st.window
		}
		if st.used < oldest.used {
			oldest = st
		}
	}
	*oldest = stream{next: n + want, used: s.clock}
	return 0
}

// resume returns the next window of the stream whose marker is page n.
func (s *streams) resume(n, most int64) (from, count int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.of {
		st := &s.of[i]
		if st.used == 0 || st.next <= n || st.next-n > st.window {
			continue
		}
		s.clock++
		from = st.next
		st.window = min(max(firstWindow, st.window*2), most)
		st.next += st.window
		st.used = s.clock
		return from, st.window
	}
	return 0, 0
}

// readAheadMax is the largest window: what a fill installs at once.
func (m *Mapping) readAheadMax() int64 { return m.c.fillPages() / 2 }

// readAhead is called when a reader meets a marker: it takes the marker away and
// has the next window read in the background.
func (m *Mapping) readAhead(pg *page) {
	if !pg.tryLock() {
		return
	}
	met := pg.load().has(ahead)
	pg.unlock(ahead, 0)
	if !met || m.c.o.Manual {
		return
	}
	from, count := m.streams.resume(pg.n, m.readAheadMax())
	if count == 0 || from >= m.pages() || m.streams.tasks.Add(1) > readAheadTasks {
		if count != 0 && from < m.pages() {
			m.streams.tasks.Add(-1)
		}
		return
	}
	m.background.Go("read-ahead", func() {
		defer m.streams.tasks.Add(-1)
		// Pages wanted by nobody yet: an error is met again by who reads them.
		_, _ = m.fill(from, 0, count)
	})
}
