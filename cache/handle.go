package cache

import (
	"fmt"
	"sync/atomic"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/seam"
)

// Handle is one user's way into a mapping. Its methods may be called from many
// goroutines at once; Close waits for them. Errors wrap ErrClosed,
// device.ErrOutOfRange, ErrRefused, ErrWriteOut, ErrNoRoom, or what the backing
// returned.
type Handle struct {
	m     *Mapping
	calls gate

	mu struct {
		seam.Mutex
		seen cursor
	}
}

// Open returns a handle. It will be told of write-out errors from here on, and
// of one that nobody has been told of.
func (m *Mapping) Open() (*Handle, error) {
	h := &Handle{m: m}
	h.calls.init()
	h.mu.seen = m.errs.sample()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed {
		return nil, fmt.Errorf("cache: %s: %w", m.o.Name, ErrClosed)
	}
	m.mu.handles[h] = struct{}{}
	return h, nil
}

// Close waits for the handle's calls to return, and ends it. It syncs nothing.
// A second Close fails with ErrClosed.
func (h *Handle) Close() error {
	if !h.calls.close() {
		return fmt.Errorf("cache: %s: %w", h.m.o.Name, ErrClosed)
	}
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	delete(h.m.mu.handles, h)
	return nil
}

func (m *Mapping) closeHandles() {
	m.mu.Lock()
	m.mu.closed = true
	var hs []*Handle
	for h := range m.mu.handles {
		hs = append(hs, h)
	}
	m.mu.Unlock()
	for _, h := range hs {
		h.calls.close()
	}
}

// begin checks a call's range and admits it; every begin that succeeds is
// followed by h.calls.leave.
func (h *Handle) begin(off, n int64) error {
	if !h.calls.enter() {
		return fmt.Errorf("cache: %s: %w", h.m.o.Name, ErrClosed)
	}
	if err := device.CheckRange(h.m.Size(), off, n); err != nil {
		h.calls.leave()
		return fmt.Errorf("cache: %s: %w", h.m.o.Name, err)
	}
	return nil
}

// Size is the mapping's size in bytes.
func (h *Handle) Size() int64 { return h.m.Size() }

// ReadAt reads len(p) bytes at off.
func (h *Handle) ReadAt(p []byte, off int64) (int, error) {
	if err := h.begin(off, int64(len(p))); err != nil {
		return 0, err
	}
	defer h.calls.leave()
	return h.m.read(p, off)
}

// TryReadAt reads len(p) bytes at off if that takes no waiting. If it returns
// false p may have been changed, and the caller should call ReadAt.
func (h *Handle) TryReadAt(p []byte, off int64) bool {
	if h.begin(off, int64(len(p))) != nil {
		return false
	}
	defer h.calls.leave()
	return h.m.tryRead(p, off)
}

// ReadScattered fills parts, each as ReadAt would, and those that are not in memory
// together. After an error it is not known which are filled, and each can be read by
// itself, to learn what is wrong with which, and to have healed what can be.
func (h *Handle) ReadScattered(parts []device.Part) error {
	if err := h.begin(0, 0); err != nil {
		return err
	}
	defer h.calls.leave()
	for i := range parts {
		if err := device.CheckRange(h.m.Size(), parts[i].Off, int64(len(parts[i].P))); err != nil {
			return fmt.Errorf("cache: %s: %w", h.m.o.Name, err)
		}
	}
	return h.m.readScattered(parts)
}

// WriteAt writes p at off, into memory. If the owner refuses a page it returns
// how many bytes were written before it.
func (h *Handle) WriteAt(p []byte, off int64) (int, error) {
	if err := h.begin(off, int64(len(p))); err != nil {
		return 0, err
	}
	defer h.calls.leave()
	return h.m.write(p, off, true)
}

// TryWriteAt writes as much of p, from its start, as takes no waiting, and returns
// how much that is. The rest is for WriteAt, which says what is in the way. Written
// twice, a part could undo what somebody has written there meanwhile.
func (h *Handle) TryWriteAt(p []byte, off int64) (n int) {
	if h.begin(off, int64(len(p))) != nil {
		return 0
	}
	defer h.calls.leave()
	n, _ = h.m.write(p, off, false)
	return n
}

// Discard gives back the space of [off, off+n), which then reads as zeros.
func (h *Handle) Discard(off, n int64) error { return h.zero(off, n, h.m.backing.Discard) }

// WriteZeroes makes [off, off+n) read as zeros and keeps its space.
func (h *Handle) WriteZeroes(off, n int64) error { return h.zero(off, n, h.m.backing.WriteZeroes) }

func (h *Handle) zero(off, n int64, how func(off, n int64) error) error {
	if err := h.begin(off, n); err != nil {
		return err
	}
	defer h.calls.leave()
	return h.m.zero(off, n, how)
}

// Prefetch brings [off, off+n) into memory, as far as a quarter of the budget
// allows.
func (h *Handle) Prefetch(off, n int64) error {
	if err := h.begin(off, n); err != nil {
		return err
	}
	defer h.calls.leave()
	return h.m.prefetch(off, n)
}

// Sync makes everything durable that was acknowledged before it was called. It
// returns the mapping's last write-out error if this handle has not been told
// of it, or else an error if pages could not be made durable.
func (h *Handle) Sync() error {
	// The size is no part of what is asked: it may change before the call is in, and
	// what is being cut off may still be dirty.
	if err := h.begin(0, 0); err != nil {
		return err
	}
	defer h.calls.leave()
	return h.sync(0, h.m.arenaPages())
}

// SyncRange is Sync for the pages that [off, off+n) touches.
func (h *Handle) SyncRange(off, n int64) error {
	if err := h.begin(off, n); err != nil {
		return err
	}
	defer h.calls.leave()
	return h.sync(off/PageSize, (off+n+PageSize-1)/PageSize)
}

// sync makes pages durable, and tells of errors since the last time. The caller
// has begun.
func (h *Handle) sync(first, end int64) error {
	err := h.m.sync(first, end)
	h.mu.Lock()
	defer h.mu.Unlock()
	if told := h.m.errs.check(&h.mu.seen); told != nil {
		return told
	}
	return err
}

// Extents lists which parts of [off, off+n) are data and which are holes. What
// is dirty in memory is data.
func (h *Handle) Extents(off, n int64, yield func(device.Extent) bool) error {
	if err := h.begin(off, n); err != nil {
		return err
	}
	defer h.calls.leave()
	return h.m.extents(off, n, yield)
}

// gate counts the calls that are inside and lets close wait for them.
type gate struct {
	// inside is how many there are, and gateClosed.
	inside atomic.Int64

	mu   seam.Mutex
	left *seam.Cond // signalled, with mu held, when the last has left a closed gate
}

// gateClosed is added to a gate's count when it is closed.
const gateClosed int64 = 1 << 62

func (g *gate) init() { g.left = seam.NewCond(&g.mu) }

func (g *gate) enter() bool {
	seam.Point("cache.gate.enter", 0)
	if g.inside.Add(1) < gateClosed {
		return true
	}
	g.leave()
	return false
}

func (g *gate) leave() {
	seam.Point("cache.gate.leave", 0)
	if g.inside.Add(-1) == gateClosed {
		g.mu.Lock()
		g.left.Broadcast()
		g.mu.Unlock()
	}
}

// close lets nobody in any more and waits for who is inside. It says whether the
// gate was open.
func (g *gate) close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	seam.Point("cache.gate.close", 0)
	was := g.inside.Or(gateClosed)
	for g.inside.Load() != gateClosed {
		g.left.Wait()
	}
	return was < gateClosed
}

// open lets calls in again.
func (g *gate) open() {
	seam.Point("cache.gate.open", 0)
	g.inside.And(^gateClosed)
}
