package nbd

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// At most logBurst warnings are logged in each logWindow; what is left out is
// counted and told with the next. A hostile client can cause a warning with
// every connection, so the rate must not be in its hands.
const (
	logBurst  = 20
	logWindow = 10 * time.Second
)

type limitedLog struct {
	out *slog.Logger

	mu struct {
		sync.Mutex
		since  time.Time // when the window began
		lines  int       // logged in it
		missed int       // left out since the last line that was logged
	}
}

// warn logs a line unless there were too many.
func (l *limitedLog) warn(msg string, args ...any) {
	l.mu.Lock()
	if now := time.Now(); now.Sub(l.mu.since) >= logWindow {
		l.mu.since, l.mu.lines = now, 0
	}
	if l.mu.lines == logBurst {
		l.mu.missed++
		l.mu.Unlock()
		return
	}
	l.mu.lines++
	missed := l.mu.missed
	l.mu.missed = 0
	l.mu.Unlock()
	if missed > 0 {
		args = append(args, "similar_lines_left_out", missed)
	}
	l.out.Warn(msg, args...)
}

// complain logs what an operator should know, at a limited rate.
func (s *Server) complain(msg string, args ...any) { s.log.warn(msg, args...) }

// logEnd logs why a connection ended: a warning for a client that broke the
// protocol, and details for whoever looks for them.
func (s *Server) logEnd(c *conn, err error) {
	c.mu.Lock()
	if c.mu.broken != nil && errors.Is(err, net.ErrClosed) {
		err = c.mu.broken
	}
	c.mu.Unlock()
	switch {
	case err == nil, errors.Is(err, errLeft):
		s.o.Log.Debug("client left", "client", c.remote, "export", c.info.Name)
		return
	case errors.Is(err, errProtocol), errors.Is(err, errSlow), errors.Is(err, ErrNoExport):
		s.complain("client refused", "client", c.remote, "export", c.info.Name, "err", err)
	default:
		s.o.Log.Debug("connection lost", "client", c.remote, "export", c.info.Name, "err", err)
	}
	s.mu.Lock()
	s.mu.past.Broken++
	s.mu.Unlock()
}

// remoteName is what a client is called in logs. Clients of a Unix socket have
// no address of their own.
func remoteName(nc net.Conn) string {
	a := nc.RemoteAddr()
	if a == nil || a.String() == "" || a.String() == "@" {
		return "on " + nc.LocalAddr().String()
	}
	return a.String()
}
