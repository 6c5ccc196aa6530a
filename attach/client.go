package attach

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Client is a program's connection to a server. Its methods may be called from
// many goroutines at once.
type Client struct {
	sock socket
	// empty is a file without a page: whatever is mapped of it fails.
	empty int
	// ended is closed when the watcher has cut all mappings off.
	ended chan struct{}

	mu struct {
		sync.Mutex
		last     uint64 // request number given out
		waiting  map[uint64]chan<- answer
		mappings map[*Mapping]bool
		err      error // why the connection ended
	}
}

type answer struct {
	message
	fd int // or -1
}

// Open connects to the server that listens at path. The context bounds only
// this.
func Open(ctx context.Context, path string) (*Client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unixpacket", path)
	if err != nil {
		return nil, fmt.Errorf("attach: %w", err)
	}
	empty, err := unix.MemfdCreate("holdfast:gone", unix.MFD_CLOEXEC)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("attach: memfd_create: %w", err)
	}
	c := &Client{sock: socket{conn: conn.(*net.UnixConn)}, empty: empty, ended: make(chan struct{})}
	c.mu.waiting = make(map[uint64]chan<- answer)
	c.mu.mappings = make(map[*Mapping]bool)
	go c.watch()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	_, err = c.ask(&message{kind: kindHello}, -1)
	if !stop() {
		err = errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach: %s: %w", path, err), c.Close())
	}
	return c, nil
}

// Close unmaps what is mapped, and ends the connection.
func (c *Client) Close() error {
	c.mu.Lock()
	mappings := slices.Collect(maps.Keys(c.mu.mappings))
	c.mu.Unlock()
	var errs []error
	for _, m := range mappings {
		errs = append(errs, m.Close())
	}
	if err := c.sock.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		errs = append(errs, err)
	}
	<-c.ended
	return errors.Join(errs...)
}

// watch takes the server's replies, and when it hangs up cuts the mappings off:
// until then the kernel keeps whoever faults waiting, because the userfaultfd is
// open here too.
func (c *Client) watch() {
	defer close(c.ended)
	defer unix.Close(c.empty)
	for {
		m, fd, err := c.sock.receive()
		if err != nil {
			c.end(err)
			return
		}
		c.mu.Lock()
		waiting := c.mu.waiting[m.id]
		delete(c.mu.waiting, m.id)
		c.mu.Unlock()
		if waiting == nil {
			closeFD(fd)
			continue
		}
		waiting <- answer{m, fd}
	}
}

// end lets everybody know that no more replies come.
func (c *Client) end(err error) {
	c.sock.conn.Close()
	c.mu.Lock()
	c.mu.err = fmt.Errorf("%w: %w", ErrGone, err)
	waiting, mappings := c.mu.waiting, slices.Collect(maps.Keys(c.mu.mappings))
	c.mu.waiting = nil
	c.mu.Unlock()
	for _, m := range mappings {
		m.cut()
	}
	for _, w := range waiting {
		close(w)
	}
}

// ask sends a request, with a descriptor unless fd is below zero, and waits for
// the reply.
func (c *Client) ask(m *message, fd int) (answer, error) {
	got := make(chan answer, 1)
	c.mu.Lock()
	if err := c.mu.err; err != nil {
		c.mu.Unlock()
		return answer{}, err
	}
	c.mu.last++
	m.id = c.mu.last
	c.mu.waiting[m.id] = got
	c.mu.Unlock()

	// If it cannot be sent the connection is over, and the watcher says so.
	sent := c.sock.send(m, fd)
	if sent != nil {
		c.sock.conn.Close()
	}
	a, ok := <-got
	if !ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		return answer{}, errors.Join(c.mu.err, sent)
	}
	if err := replyError(&a.message); err != nil {
		closeFD(a.fd)
		return answer{}, err
	}
	return a, nil
}
