// Package clients keeps a server's listeners and clients: it accepts, bounds how
// many there are, and waits at the end until all have gone.
package clients

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

var (
	// ErrClosed says that the server has been closed.
	ErrClosed = errors.New("server closed")
	// ErrFull says that there are as many clients as may be.
	ErrFull = errors.New("too many clients")
)

// acceptRetry is the pause after a failed accept: the usual reason, too many open
// files, takes a moment to pass.
const acceptRetry = 50 * time.Millisecond

// Set is the listeners and clients of one server. The zero Set is not usable:
// call New.
type Set[C comparable] struct {
	max int

	mu struct {
		sync.Mutex
		closed    bool
		listeners map[net.Listener]struct{}
		clients   map[C]time.Time // when each came
	}
	left sync.Cond // a client has gone; used with mu
}

// New returns a Set that takes up to limit clients at once.
func New[C comparable](limit int) *Set[C] {
	s := &Set[C]{max: limit}
	s.left.L = &s.mu
	s.mu.listeners = make(map[net.Listener]struct{})
	s.mu.clients = make(map[C]time.Time)
	return s
}

// Accept calls start for each connection that l accepts, until the Set is closed:
// then it returns ErrClosed. It closes l. What an accept fails with that may pass
// is given to complain, and tried again.
func (s *Set[C]) Accept(l net.Listener, start func(net.Conn), complain func(error)) error {
	defer l.Close()
	if !s.listen(l) {
		return ErrClosed
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.mu.listeners, l)
	}()
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			start(conn)
		case s.Closed():
			return ErrClosed
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("listening on %v: %w", l.Addr(), err)
		default:
			complain(err)
			time.Sleep(acceptRetry)
		}
	}
}

func (s *Set[C]) listen(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mu.closed {
		s.mu.listeners[l] = struct{}{}
	}
	return !s.mu.closed
}

// Closed says whether Close was called.
func (s *Set[C]) Closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.closed
}

// Add takes a client, who is to be removed when he has gone. It fails with
// ErrFull or ErrClosed.
func (s *Set[C]) Add(c C) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mu.closed:
		return ErrClosed
	case len(s.mu.clients) >= s.max:
		return ErrFull
	}
	s.mu.clients[c] = time.Now()
	return nil
}

// Remove ends what Add began. With the client it calls last, if not nil, so that
// Each sees either of them.
func (s *Set[C]) Remove(c C, last func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.clients, c)
	if last != nil {
		last()
	}
	s.left.Broadcast()
}

// Each calls f for each client, with the time when he came, and then after, if
// not nil: all at one moment, so they may not call the Set nor wait.
func (s *Set[C]) Each(f func(c C, since time.Time), after func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, since := range s.mu.clients {
		f(c, since)
	}
	if after != nil {
		after()
	}
}

// Close closes the listeners and takes no more clients.
func (s *Set[C]) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.closed = true
	for l := range s.mu.listeners {
		l.Close()
	}
}

// Wait returns when all clients have gone or ctx has ended: how many are left.
func (s *Set[C]) Wait(ctx context.Context) int {
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.left.Broadcast()
	})
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.mu.clients) > 0 && ctx.Err() == nil {
		s.left.Wait()
	}
	return len(s.mu.clients)
}
