package nbd

import (
	"errors"
	"net"
)

// complain logs what an operator should know, at a limited rate.
func (s *Server) complain(msg string, args ...any) { s.log.Warn(msg, args...) }

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
