package nbd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"holdfast.dev/holdfast/internal/limitlog"
)

// ErrServerClosed is what Serve returns after Shutdown.
var ErrServerClosed = errors.New("nbd: server closed")

// Options say what a server serves, and how.
type Options struct {
	// Exports is what is served; it is required.
	Exports Exports
	// Log takes what an operator should know; nil means nothing is logged.
	Log *slog.Logger
	// MaxConns limits the connections at once; 0 means DefaultMaxConns.
	MaxConns int
	// HandshakeTimeout limits how long a client takes until transmission; 0
	// means DefaultHandshakeTimeout.
	HandshakeTimeout time.Duration
	// DrainTimeout limits how long Shutdown waits for clients; 0 means
	// DefaultDrainTimeout.
	DrainTimeout time.Duration
}

func (o *Options) ensureDefaults() {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MaxConns <= 0 {
		o.MaxConns = DefaultMaxConns
	}
	if o.HandshakeTimeout <= 0 {
		o.HandshakeTimeout = DefaultHandshakeTimeout
	}
	if o.DrainTimeout <= 0 {
		o.DrainTimeout = DefaultDrainTimeout
	}
}

// Server serves exports to NBD clients on any number of listeners.
type Server struct {
	o   Options
	log limitlog.Log

	mu struct {
		sync.Mutex
		draining  bool
		listeners map[net.Listener]bool
		conns     map[*conn]time.Time // when each began
		past      Stats               // counts of connections that ended, and of the server
	}
	ended sync.Cond // a connection ended; used with mu
}

// NewServer returns a server that serves nothing before Serve is called.
func NewServer(o Options) *Server {
	o.ensureDefaults()
	s := &Server{o: o, log: limitlog.Log{Out: o.Log}}
	s.ended.L = &s.mu
	s.mu.listeners = make(map[net.Listener]bool)
	s.mu.conns = make(map[*conn]time.Time)
	return s
}

// Serve accepts connections from l, which it closes, until Shutdown is called:
// then it returns ErrServerClosed. It may be called for several listeners.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	s.mu.Lock()
	if s.mu.draining {
		s.mu.Unlock()
		return ErrServerClosed
	}
	s.mu.listeners[l] = true
	s.mu.Unlock()
	defer s.drop(l)
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			s.start(nc)
		case s.isDraining():
			return ErrServerClosed
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("nbd: listening on %v: %w", l.Addr(), err)
		default:
			s.complain("accept failed; trying again", "address", l.Addr(), "err", err)
			time.Sleep(acceptRetry)
		}
	}
}

// drop forgets a listener.
func (s *Server) drop(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.listeners, l)
}

func (s *Server) isDraining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.draining
}

// start serves a connection in a goroutine of its own, or refuses it.
func (s *Server) start(nc net.Conn) {
	if t, ok := nc.(*net.TCPConn); ok {
		// Replies are gathered already: a delay for more would only hurt.
		t.SetNoDelay(true)
	}
	c := newConn(s, nc)
	now := time.Now()
	nc.SetDeadline(now.Add(s.o.HandshakeTimeout))

	s.mu.Lock()
	full := len(s.mu.conns) >= s.o.MaxConns
	refused := full || s.mu.draining
	if refused {
		s.mu.past.Refused++
	} else {
		s.mu.past.Accepted++
		s.mu.conns[c] = now
	}
	s.mu.Unlock()

	if refused {
		nc.Close()
		if full {
			s.complain("connection refused: too many", "client", c.remote, "limit", s.o.MaxConns)
		}
		return
	}
	go func() {
		c.serve()
		s.forget(c)
	}()
}

// forget ends the bookkeeping for a connection that ended.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.conns, c)
	c.count.addTo(&s.mu.past)
	s.ended.Broadcast()
}

// Shutdown ends the server: it stops accepting, answers what arrives from here
// on with ESHUTDOWN, finishes what is outstanding, and closes each connection
// when it has. Clients that have not taken their replies after DrainTimeout, or
// when ctx ends, are cut off. It returns when every export is closed, or with an
// error when ctx ends while an export is still working.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.mu.draining = true
	for l := range s.mu.listeners {
		l.Close()
	}
	for c := range s.mu.conns {
		c.drain()
	}
	s.mu.Unlock()

	patience, cancel := context.WithTimeout(ctx, s.o.DrainTimeout)
	defer cancel()
	if s.awaitEnd(patience) == 0 {
		return nil
	}
	s.cutOff()
	if left := s.awaitEnd(ctx); left > 0 {
		return fmt.Errorf("nbd: shutdown: %d connections still wait for their export: %w", left, context.Cause(ctx))
	}
	return nil
}

// awaitEnd waits until all connections have ended or ctx does, and returns how
// many are left.
func (s *Server) awaitEnd(ctx context.Context) int {
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ended.Broadcast()
	})
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.mu.conns) > 0 && ctx.Err() == nil {
		s.ended.Wait()
	}
	return len(s.mu.conns)
}

// cutOff closes the sockets of all connections.
func (s *Server) cutOff() {
	s.mu.Lock()
	left := slices.Collect(maps.Keys(s.mu.conns))
	s.mu.Unlock()
	for _, c := range left {
		s.complain("client cut off: it did not finish in time", "client", c.remote)
		c.nc.Close()
	}
}
