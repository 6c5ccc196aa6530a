package mirror

import (
	"unsafe"

	"holdfast.dev/holdfast/internal/seam"
)

// alignedBytes returns n bytes that start at a multiple of BlockSize, so that
// devices opened for direct I/O take them without a copy.
func alignedBytes(n int) []byte {
	b := make([]byte, n+BlockSize)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (BlockSize - 1)
	return b[skip : skip+n : skip+n]
}

// blockStore lends aligned blocks.
type blockStore struct {
	mu   seam.Mutex
	free []*[BlockSize]byte // guarded by mu
}

func (s *blockStore) get() *[BlockSize]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		b := s.free[n-1]
		s.free = s.free[:n-1]
		return b
	}
	return (*[BlockSize]byte)(alignedBytes(BlockSize))
}

func (s *blockStore) put(b *[BlockSize]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, b)
}

// menders is the store of those not in use. A mender holds some MiB, so only a
// few are kept.
type menders struct {
	mu   seam.Mutex
	free []*mender // guarded by mu
}

// keptMenders is one for the resync and a few for readers.
const keptMenders = 4

func (s *menders) get(m *Mirror) *mender {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		md := s.free[n-1]
		s.free = s.free[:n-1]
		return md
	}
	return newMender(m)
}

func (s *menders) put(md *mender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) < keptMenders {
		s.free = append(s.free, md)
	}
}
