package attach

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/internal/clients"
	"holdfast.dev/holdfast/internal/limitlog"
)

// Options say what a server serves, to whom, and how.
type Options struct {
	// Volumes finds a volume's mapping by its name; it is required. An error means
	// that there is none.
	Volumes func(name string) (*cache.Mapping, error)
	// Allow says which users are served; nil means the server's own.
	Allow func(uid uint32) bool
	// Log takes what an operator should know; nil means nothing is logged.
	Log *slog.Logger
	// MaxClients limits the clients at once, MaxWindows the windows of each; 0
	// means DefaultMaxClients and DefaultMaxWindows.
	MaxClients, MaxWindows int
	// HandshakeTimeout limits how long a client takes for the steps in which the
	// server waits for it; 0 means DefaultHandshakeTimeout.
	HandshakeTimeout time.Duration
	// Announced has every store announced: no window is served in the asynchronous
	// mode, whatever its client asks for.
	Announced bool
	// Patience limits how long a client's address space may take to be reached; 0
	// means DefaultPatience.
	Patience time.Duration
}

func (o *Options) ensureDefaults() {
	if o.Allow == nil {
		own := uint32(os.Geteuid())
		o.Allow = func(uid uint32) bool { return uid == own }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MaxClients <= 0 {
		o.MaxClients = DefaultMaxClients
	}
	if o.MaxWindows <= 0 {
		o.MaxWindows = DefaultMaxWindows
	}
	if o.HandshakeTimeout <= 0 {
		o.HandshakeTimeout = DefaultHandshakeTimeout
	}
	if o.Patience <= 0 {
		o.Patience = DefaultPatience
	}
}

// Server maps volumes into the memory of its clients.
type Server struct {
	o        Options
	log      limitlog.Log
	count    counters
	sessions *clients.Set[*session]
	guard    *guard
}

// NewServer returns a server that serves nothing before Serve is called.
func NewServer(o Options) *Server {
	o.ensureDefaults()
	s := &Server{o: o, log: limitlog.Log{Out: o.Log}, sessions: clients.New[*session](o.MaxClients)}
	s.guard = newGuard(&s.log)
	return s
}

// Listen makes the socket for Serve, of the network "unixpacket". Whoever can
// open the file can connect; Options.Allow decides who is served.
func Listen(ctx context.Context, path string) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(ctx, "unixpacket", path)
}

// Serve accepts clients from l, a Unix socket that keeps messages apart
// (SOCK_SEQPACKET), until Shutdown is called: then it returns ErrServerClosed.
// It closes l.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if l.Addr().Network() != "unixpacket" {
		return fmt.Errorf("attach: listening on %v: %w: the network is %q, but must be %q",
			l.Addr(), ErrInvalid, l.Addr().Network(), "unixpacket")
	}
	if os.Getpagesize() != cache.PageSize {
		return fmt.Errorf("attach: this machine's pages have %d bytes, only %d are possible: %w",
			os.Getpagesize(), cache.PageSize, errors.ErrUnsupported)
	}
	err := s.sessions.Accept(l, s.start, func(err error) {
		s.log.Warn("accept failed; trying again", "address", l.Addr(), "err", err)
	})
	if errors.Is(err, clients.ErrClosed) {
		return ErrServerClosed
	}
	return fmt.Errorf("attach: %w", err)
}

// start serves a client in a goroutine of its own, or refuses it.
func (s *Server) start(conn net.Conn) {
	c, err := newSession(s, conn.(*net.UnixConn))
	if err != nil {
		conn.Close()
		s.log.Warn("client refused: it cannot be told who it is", "err", err)
		return
	}
	if err := s.sessions.Add(c); err != nil {
		conn.Close()
		if errors.Is(err, clients.ErrFull) {
			s.log.Warn("client refused: too many", "pid", c.cred.Pid, "limit", s.o.MaxClients)
		}
		return
	}
	go func() {
		c.run()
		s.sessions.Remove(c, nil)
	}()
}

// Shutdown stops accepting, takes every client's write access away, and lets
// the clients go: their accesses fail from then on. It returns when all are gone,
// or with an error when ctx ends before.
func (s *Server) Shutdown(ctx context.Context) error {
	s.sessions.Close()
	s.sessions.Each(func(c *session, _ time.Time) { c.detach(ErrServerClosed) }, nil)
	if left := s.sessions.Wait(ctx); left > 0 {
		return fmt.Errorf("attach: shutdown: %d clients still wait for their volumes: %w", left, context.Cause(ctx))
	}
	return nil
}

// Close comes after Shutdown, and after the cache has been closed and its memory
// has gone: clients that wait in the middle of a copy, and that Shutdown has let
// go, find out then. It ends the guardian, if there is one.
func (s *Server) Close() { s.guard.end() }
