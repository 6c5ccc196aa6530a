package cache

import "holdfast.dev/holdfast/internal/seam"

// bufferPages is how many pages a buffer holds: 256 KiB, past which a disk gains
// little from longer transfers.
const bufferPages = 64

// buffer is memory for pages that lies beside the budget.
type buffer struct{ mem []byte }

// buffers lends them, a few at a time.
type buffers struct {
	mu   seam.Mutex
	back *seam.Cond
	most int
	// Guarded by mu: those not in use, and how many were made.
	free []*buffer
	made int
}

func (s *buffers) init(most int) { s.most, s.back = most, seam.NewCond(&s.mu) }

// get returns a buffer. With wait it waits for one if need be, and the caller may
// hold no page; otherwise it returns nil then.
func (s *buffers) get(wait bool) *buffer {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.free) == 0 {
		if s.made < s.most {
			s.made++
			return &buffer{mem: make([]byte, bufferPages*PageSize)}
		}
		if !wait {
			return nil
		}
		s.back.Wait()
	}
	last := len(s.free) - 1
	b := s.free[last]
	s.free = s.free[:last]
	return b
}

// put gives a buffer back; nil is none.
func (s *buffers) put(b *buffer) {
	if b == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, b)
	s.back.Signal()
}
