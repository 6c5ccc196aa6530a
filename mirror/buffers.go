package mirror

import (
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/seam"
)

// store lends what is dear to make, and keeps what comes back for the next.
type store[T any] struct {
	fresh func() *T
	kept  int // at the most; 0 is all

	mu   seam.Mutex
	free []*T // guarded by mu
}

func (s *store[T]) get() *T {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		x := s.free[n-1]
		s.free = s.free[:n-1]
		return x
	}
	return s.fresh()
}

func (s *store[T]) put(x *T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == 0 || len(s.free) < s.kept {
		s.free = append(s.free, x)
	}
}

// keptMenders is one for the resync and a few for readers: a mender holds some
// MiB.
const keptMenders = 4

// makeStores readies what the mirror lends.
func (m *Mirror) makeStores() {
	m.fans.fresh = func() *fanout { return newFanout(m) }
	m.spreads.fresh = func() *spread { return &spread{m: m} }
	m.menders.fresh, m.menders.kept = func() *mender { return newMender(m) }, keptMenders
	m.oneBlock.fresh = func() *[BlockSize]byte { return (*[BlockSize]byte)(device.Aligned(BlockSize)) }
}
