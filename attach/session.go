package attach

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// session serves one client.
type session struct {
	s    *Server
	sock socket
	cred unix.Ucred // of who connected
	// slots has a token for each request that is worked on in the background, and
	// background their goroutines.
	slots      chan struct{}
	background sync.WaitGroup

	mu struct {
		sync.Mutex
		windows map[uint64]*window
		last    uint64 // window number given out
		why     error  // of the end, once it was decided here
	}
}

func newSession(s *Server, conn *net.UnixConn) (*session, error) {
	c := &session{s: s, sock: socket{conn: conn}, slots: make(chan struct{}, maxInflight)}
	c.mu.windows = make(map[uint64]*window)
	var err error
	c.cred, err = c.sock.credentials()
	return c, err
}

// detach ends the session from any goroutine, also one that holds pages. The
// first reason is the one that counts.
func (c *session) detach(why error) {
	c.mu.Lock()
	if c.mu.why == nil {
		c.mu.why = why
	}
	c.mu.Unlock()
	// Ends receive and send; the rest is done there.
	c.sock.conn.Close()
}

// letGo says whether the session ends because the server does.
func (c *session) letGo() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Is(c.mu.why, ErrServerClosed)
}

func (c *session) run() {
	err := c.serve()
	c.sock.conn.Close()
	c.mu.Lock()
	if c.mu.why == nil {
		c.mu.why = err
	}
	why := c.mu.why
	windows := c.mu.windows
	c.mu.windows = nil
	c.mu.Unlock()
	var all sync.WaitGroup
	for _, w := range windows {
		all.Go(w.release)
	}
	all.Wait()
	c.background.Wait()
	c.logEnd(why)
}

// serve handles requests until the client goes, or has to.
func (c *session) serve() error {
	if err := c.handshake(); err != nil {
		return err
	}
	for {
		m, fd, err := c.sock.receive()
		if err != nil {
			return err
		}
		if err := c.handle(&m, fd); err != nil {
			return err
		}
	}
}

// handshake finds out who the client is, and whether he is served.
func (c *session) handshake() error {
	if err := c.sock.conn.SetReadDeadline(time.Now().Add(c.s.o.HandshakeTimeout)); err != nil {
		return err
	}
	m, fd, err := c.sock.receive()
	if err != nil {
		return err
	}
	closeFD(fd)
	if m.kind != kindHello || fd >= 0 {
		return fmt.Errorf("%w: request %d instead of a hello", errProtocol, m.kind)
	}
	if !c.s.o.Allow(c.cred.Uid) {
		denied := fmt.Errorf("%w for user %d", ErrDenied, c.cred.Uid)
		return errors.Join(denied, c.answer(&m, denied))
	}
	if err := c.answer(&m, nil); err != nil {
		return err
	}
	return c.sock.conn.SetReadDeadline(time.Time{})
}

// answer tells the client how his request went.
func (c *session) answer(request *message, err error) error { return c.answerWith(request, 0, err) }

// answerWith also tells him a number.
func (c *session) answerWith(request *message, addr uint64, err error) error {
	m := message{kind: request.kind | reply, id: request.id, window: request.window, addr: addr, status: statusOf(err)}
	if err != nil {
		m.text = plain(err)
	}
	return c.sock.send(&m, -1)
}

// plain is what a client may know of an error: the sentinel that it stands for,
// not what lies behind a volume.
func plain(err error) string {
	if errors.Is(err, ErrInvalid) || errors.Is(err, ErrDenied) || errors.Is(err, ErrNotAsync) {
		return strings.TrimPrefix(err.Error(), ErrNotAsync.Error()+": ")
	}
	return ""
}

// logEnd logs why a session ended: one line, a warning for a client that was at
// fault.
func (c *session) logEnd(why error) {
	args := []any{"pid", c.cred.Pid, "uid", c.cred.Uid, "err", why}
	left := errors.Is(why, io.EOF) || errors.Is(why, ErrServerClosed) || errors.Is(why, unix.ECONNRESET) || errors.Is(why, unix.EPIPE)
	if left && !errors.Is(why, ErrDenied) { // who is denied may not stay for the answer
		c.s.o.Log.Debug("client left", args...)
		return
	}
	c.s.count.detached.Add(1)
	c.s.log.Warn("client detached", args...)
}
