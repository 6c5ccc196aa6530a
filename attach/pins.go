package attach

import (
	"fmt"
	"sync"

	"holdfast.dev/holdfast/cache"
)

// pins are what a client has pinned in a window. They end with it.
type pins struct {
	mu sync.Mutex
	// Guarded by mu. ended says that nothing can be pinned any more.
	of    map[uint64]*cache.Pin
	last  uint64
	ended bool
}

// add keeps a pin and returns its number. It fails if there are too many or the
// window has ended, and then releases the pin.
func (s *pins) add(p *cache.Pin) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || len(s.of) >= pinsMost {
		p.ReleaseUnchanged()
		if s.ended {
			return 0, ErrClosed
		}
		return 0, fmt.Errorf("%w: a window has at most %d pins", ErrInvalid, pinsMost)
	}
	if s.of == nil {
		s.of = make(map[uint64]*cache.Pin)
	}
	s.last++
	s.of[s.last] = p
	return s.last, nil
}

// take returns the pin of a number, which ends; nil if there is none.
func (s *pins) take(n uint64) *cache.Pin {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.of[n]
	delete(s.of, n)
	return p
}

// end releases all pins. Nobody says any more what was stored through them, so
// they are dirty.
func (s *pins) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for _, p := range s.of {
		p.Release()
	}
	s.of = nil
}

// handlePin pins a part of the window. Pages may have to be read for it, so the
// reply can come after those to later requests.
func (c *session) handlePin(w *window, m *message) error {
	if err := w.check(m); err != nil {
		return c.answer(m, err)
	}
	mode := cache.PinRead
	switch {
	case m.flags&^uint32(ReadWrite) != 0 || m.n == 0:
		return c.answer(m, fmt.Errorf("%w: a pin of %d bytes with flags %#x", ErrInvalid, m.n, m.flags))
	case m.flags != 0 && !w.writable:
		return c.answer(m, fmt.Errorf("%w: the window is for reading only", ErrInvalid))
	case m.flags != 0:
		mode = cache.PinWrite
	}
	request := *m
	c.inBackground(func() {
		pin, err := w.mem.Pin(w.first*cache.PageSize+int64(request.off), int64(request.n), mode)
		number := uint64(0)
		if err == nil {
			number, err = w.pins.add(&pin)
		}
		if err := c.answerWith(&request, number, err); err != nil {
			c.detach(err)
		}
	})
	return nil
}

// handleUnpin releases a pin.
func (c *session) handleUnpin(w *window, m *message) error {
	p := w.pins.take(m.addr)
	switch {
	case p == nil:
		return c.answer(m, fmt.Errorf("%w: no pin %d", ErrInvalid, m.addr))
	case m.flags == unpinUnchanged:
		p.ReleaseUnchanged()
	default:
		p.Release()
	}
	return c.answer(m, nil)
}

// Pin is a part of a mapping whose pages stay in the server's memory. While it is
// held to write, the server takes them to be written to at any moment: each
// write-out goes from a snapshot, and a sync makes durable what they hold. Only the
// first store to each page is announced: write-outs leave write access alone until
// the pin ends.
type Pin struct {
	m      *Mapping
	number uint64
}

// Pin pins [off, off+n) of the mapping, to read or to write. It fails with
// ErrRefused if the volume's owner does not agree, or too much is pinned already.
func (m *Mapping) Pin(off, n int64, flags Flags) (*Pin, error) {
	a, err := m.c.ask(&message{kind: kindPin, window: m.window, off: uint64(off), n: uint64(n), flags: uint32(flags)}, -1)
	if err != nil {
		return nil, fmt.Errorf("attach: pin %q, %d bytes at %d: %w", m.volume, n, off, err)
	}
	return &Pin{m, a.addr}, nil
}

// Release ends the pin; what it pinned to write is dirty then.
func (p *Pin) Release() error { return p.release(0) }

// ReleaseUnchanged ends a pin through which nothing was stored since the pages
// were last made durable.
func (p *Pin) ReleaseUnchanged() error { return p.release(unpinUnchanged) }

func (p *Pin) release(flags uint32) error {
	_, err := p.m.c.ask(&message{kind: kindUnpin, window: p.m.window, addr: p.number, flags: flags}, -1)
	if err != nil {
		return fmt.Errorf("attach: unpin %q: %w", p.m.volume, err)
	}
	return nil
}
