package nbd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"holdfast.dev/holdfast/internal/clients"
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
	o     Options
	log   limitlog.Log
	conns *clients.Set[*conn]

	mu struct {
		sync.Mutex
		past Stats // counts of connections that ended, and of the server
	}
}

// NewServer returns a server that serves nothing before Serve is called.
func NewServer(o Options) *Server {
	o.ensureDefaults()
	return &Server{o: o, log: limitlog.Log{Out: o.Log}, conns: clients.New[*conn](o.MaxConns)}
}

// Serve accepts connections from l, which it closes, until Shutdown is called:
// then it returns ErrServerClosed. It may be called for several listeners.
func (s *Server) Serve(l net.Listener) error {
	err := s.conns.Accept(l, s.start, func(err error) {
		s.complain("accept failed; trying again", "address", l.Addr(), "err", err)
	})
	if errors.Is(err, clients.ErrClosed) {
		return ErrServerClosed
	}
	return fmt.Errorf("nbd: %w", err)
}

// start serves a connection in a goroutine of its own, or refuses it.
func (s *Server) start(nc net.Conn) {
	if t, ok := nc.(*net.TCPConn); ok {
		// Replies are gathered already: a delay for more would only hurt.
		t.SetNoDelay(true)
	}
	c := newConn(s, nc)
	nc.SetDeadline(time.Now().Add(s.o.HandshakeTimeout))
	err := s.conns.Add(c)
	s.mu.Lock()
	if err != nil {
		s.mu.past.Refused++
	} else {
		s.mu.past.Accepted++
	}
	s.mu.Unlock()
	if err != nil {
		nc.Close()
		if errors.Is(err, clients.ErrFull) {
			s.complain("connection refused: too many", "client", c.remote, "limit", s.o.MaxConns)
		}
		return
	}
	go func() {
		c.serve()
		s.conns.Remove(c, func() { s.forget(c) })
	}()
}

// forget keeps the counts of a connection that ended.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.count.addTo(&s.mu.past)
}

// Shutdown ends the server: it stops accepting, answers what arrives from here
// on with ESHUTDOWN, finishes what is outstanding, and closes each connection
// when it has. Clients that have not taken their replies after DrainTimeout, or
// when ctx ends, are cut off. It returns when every export is closed, or with an
// error when ctx ends while an export is still working.
func (s *Server) Shutdown(ctx context.Context) error {
	s.conns.Close()
	s.conns.Each(func(c *conn, _ time.Time) { c.drain() }, nil)

	patience, cancel := context.WithTimeout(ctx, s.o.DrainTimeout)
	defer cancel()
	if s.conns.Wait(patience) == 0 {
		return nil
	}
	s.cutOff()
	if left := s.conns.Wait(ctx); left > 0 {
		return fmt.Errorf("nbd: shutdown: %d connections still wait for their export: %w", left, context.Cause(ctx))
	}
	return nil
}

// cutOff closes the sockets of all connections.
func (s *Server) cutOff() {
	s.conns.Each(func(c *conn, _ time.Time) {
		s.complain("client cut off: it did not finish in time", "client", c.remote)
		c.nc.Close()
	}, nil)
}
