package attach

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"holdfast.dev/holdfast/cache"
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
	o     Options
	log   limitlog.Log
	count counters

	mu struct {
		sync.Mutex
		closing   bool
		listeners map[net.Listener]bool
		sessions  map[*session]bool
	}
	ended sync.Cond // a session ended; used with mu
}

// NewServer returns a server that serves nothing before Serve is called.
func NewServer(o Options) *Server {
	o.ensureDefaults()
	s := &Server{o: o, log: limitlog.Log{Out: o.Log}}
	s.ended.L = &s.mu
	s.mu.listeners = make(map[net.Listener]bool)
	s.mu.sessions = make(map[*session]bool)
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
	if !s.listen(l) {
		return ErrServerClosed
	}
	defer s.drop(l)
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			s.start(conn)
		case s.isClosing():
			return ErrServerClosed
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("attach: listening on %v: %w", l.Addr(), err)
		default:
			s.log.Warn("accept failed; trying again", "address", l.Addr(), "err", err)
			time.Sleep(acceptRetry)
		}
	}
}

func (s *Server) listen(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closing {
		return false
	}
	s.mu.listeners[l] = true
	return true
}

func (s *Server) drop(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.listeners, l)
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.closing
}

// start serves a client in a goroutine of its own, or refuses it.
func (s *Server) start(conn net.Conn) {
	c, err := newSession(s, conn.(*net.UnixConn))
	if err != nil {
		conn.Close()
		s.log.Warn("client refused: it cannot be told who it is", "err", err)
		return
	}
	s.mu.Lock()
	full := len(s.mu.sessions) >= s.o.MaxClients
	refused := full || s.mu.closing
	if !refused {
		s.mu.sessions[c] = true
	}
	s.mu.Unlock()
	if refused {
		conn.Close()
		if full {
			s.log.Warn("client refused: too many", "pid", c.cred.Pid, "limit", s.o.MaxClients)
		}
		return
	}
	go func() {
		c.run()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.mu.sessions, c)
		s.ended.Broadcast()
	}()
}

// Shutdown stops accepting, takes every client's write access away, and lets
// the clients go: their accesses fail from then on. It returns when all are gone,
// or with an error when ctx ends before.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.mu.closing = true
	listeners, sessions := slices.Collect(maps.Keys(s.mu.listeners)), slices.Collect(maps.Keys(s.mu.sessions))
	s.mu.Unlock()
	for _, l := range listeners {
		l.Close()
	}
	for _, c := range sessions {
		c.detach(ErrServerClosed)
	}
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ended.Broadcast()
	})
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.mu.sessions) > 0 && ctx.Err() == nil {
		s.ended.Wait()
	}
	if left := len(s.mu.sessions); left > 0 {
		return fmt.Errorf("attach: shutdown: %d clients still wait for their volumes: %w", left, context.Cause(ctx))
	}
	return nil
}
