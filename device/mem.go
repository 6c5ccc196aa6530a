package device

import (
	"sync"
	"sync/atomic"
)

const (
	// memChunkSize is how much of a Mem is allocated, locked and given back as
	// one, in bytes: small enough to be sparse, and a multiple of SectorSize so
	// that a sector lies under one lock.
	memChunkSize = 64 << 10
	// memGroupLen is how many chunks are reached through one pointer, so that
	// the index of a large empty Mem stays small: 8 bytes for each 64 MiB.
	memGroupLen = 1024
)

// Mem is a device in memory. It is sparse: what was never written, or was
// discarded in whole chunks, takes no memory.
//
// Each chunk has a lock of its own, held while bytes are copied; no call holds
// two at once.
type Mem struct {
	size   int64
	closed atomic.Bool
	groups []atomic.Pointer[memGroup]
}

type memGroup [memGroupLen]memChunk

type memChunk struct {
	mu sync.RWMutex
	// data is nil while the chunk is a hole. It is guarded by mu.
	data *[memChunkSize]byte
}

// NewMem returns a device of size bytes that reads as zeros.
func NewMem(size int64) *Mem {
	const group = memChunkSize * memGroupLen
	n := size / group
	if size%group != 0 {
		n++
	}
	return &Mem{size: size, groups: make([]atomic.Pointer[memGroup], n)}
}

// ReadAt reads len(p) bytes at off.
func (m *Mem) ReadAt(p []byte, off int64) (int, error) {
	if err := m.check("read", off, int64(len(p))); err != nil {
		return 0, err
	}
	for done := 0; done < len(p); {
		at := off + int64(done)
		in := int(at % memChunkSize)
		n := min(memChunkSize-in, len(p)-done)
		m.readChunk(p[done:done+n], at/memChunkSize, in)
		done += n
	}
	return len(p), nil
}

func (m *Mem) readChunk(p []byte, i int64, in int) {
	c := m.chunk(i, false)
	if c == nil {
		clear(p)
		return
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.data == nil {
		clear(p)
		return
	}
	copy(p, c.data[in:])
}

// WriteAt writes p at off.
func (m *Mem) WriteAt(p []byte, off int64) (int, error) {
	if err := m.check("write", off, int64(len(p))); err != nil {
		return 0, err
	}
	for done := 0; done < len(p); {
		at := off + int64(done)
		in := int(at % memChunkSize)
		n := min(memChunkSize-in, len(p)-done)
		m.writeChunk(p[done:done+n], at/memChunkSize, in)
		done += n
	}
	return len(p), nil
}

func (m *Mem) writeChunk(p []byte, i int64, in int) {
	c := m.chunk(i, true)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.data == nil {
		c.data = new([memChunkSize]byte)
	}
	copy(c.data[in:], p)
}

// Flush has nothing to do: memory is as durable as it gets.
func (m *Mem) Flush() error { return m.check("flush", 0, 0) }

// Discard zeroes the range and frees the chunks that lie in it whole.
func (m *Mem) Discard(off, n int64) error {
	return m.zero("discard", off, n, true)
}

// WriteZeroes zeroes the range. What was a hole stays one: it reads as zeros
// already, and memory cannot be reserved.
func (m *Mem) WriteZeroes(off, n int64) error {
	return m.zero("zero", off, n, false)
}

func (m *Mem) zero(op string, off, n int64, free bool) error {
	if err := m.check(op, off, n); err != nil {
		return err
	}
	for end := off + n; off < end; {
		next := min(end, (off/memChunkSize+1)*memChunkSize)
		if c := m.chunk(off/memChunkSize, false); c != nil {
			c.zero(int(off%memChunkSize), int(next-off), free)
		} else if off%(memChunkSize*memGroupLen) == 0 {
			// An empty group is passed in one step: a discard of a large
			// empty device must not walk all its chunks.
			next = min(end, off+memChunkSize*memGroupLen)
		}
		off = next
	}
	return nil
}

func (c *memChunk) zero(in, n int, free bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.data == nil:
	case free && n == memChunkSize:
		c.data = nil
	default:
		clear(c.data[in : in+n])
	}
}

// Extents reports unallocated chunks as holes.
func (m *Mem) Extents(off, n int64, yield func(Extent) bool) error {
	if err := m.check("extents", off, n); err != nil {
		return err
	}
	var run Extent
	for end := off + n; off < end; {
		next := min(end, (off/memChunkSize+1)*memChunkSize)
		hole := m.isHole(off / memChunkSize)
		if run.Len > 0 && run.Hole != hole {
			if !yield(run) {
				return nil
			}
			run = Extent{}
		}
		if run.Len == 0 {
			run = Extent{Off: off, Hole: hole}
		}
		run.Len += next - off
		off = next
	}
	if run.Len > 0 {
		yield(run)
	}
	return nil
}

func (m *Mem) isHole(i int64) bool {
	c := m.chunk(i, false)
	if c == nil {
		return true
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.data == nil
}

// Size is the size in bytes.
func (m *Mem) Size() int64 { return m.size }

// Close makes later calls fail. Calls in flight finish: the memory lives until
// the last of them is done with it.
func (m *Mem) Close() error {
	if m.closed.Swap(true) {
		return &OpError{Op: "close", Name: memName, Err: ErrClosed}
	}
	return nil
}

// memName is what a Mem is called in errors.
const memName = "memory device"

func (m *Mem) check(op string, off, n int64) error {
	err := CheckRange(m.size, off, n)
	if m.closed.Load() {
		err = ErrClosed
	}
	if err != nil {
		return &OpError{Op: op, Name: memName, Off: off, Len: n, Err: err}
	}
	return nil
}

// chunk returns the i-th chunk; without create, nil if its group was never
// written to.
func (m *Mem) chunk(i int64, create bool) *memChunk {
	at := &m.groups[i/memGroupLen]
	g := at.Load()
	if g == nil {
		if !create {
			return nil
		}
		at.CompareAndSwap(nil, new(memGroup))
		g = at.Load()
	}
	return &g[i%memGroupLen]
}
