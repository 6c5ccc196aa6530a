package nbd

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"holdfast.dev/holdfast/internal/invariants"
)

// conn is one client's connection. Fields that no comment says otherwise of are
// set before transmission and constant in it.
type conn struct {
	srv    *Server
	nc     net.Conn
	remote string

	export     Export
	info       Info
	structured bool // replies to READ are structured
	status     bool // BLOCK_STATUS was negotiated

	// in and batch belong to the reader.
	in    input
	batch *reply

	count counters

	// draining is mu.draining for the reader to look at without the lock.
	draining atomic.Bool

	mu struct {
		sync.Mutex
		draining bool   // requests are refused; ends when nothing is in flight
		name     string // of the export; empty before transmission

		inflight int   // requests admitted and not yet released
		bytes    int64 // what they may hold in buffers

		work       queue // waits for a worker
		reads      queue // short reads that do
		workers    int
		reading    int    // how many of them have short reads
		resting    bool   // one of them waits on queued
		ended      bool   // and is not to do so again
		out        *reply // waits for the writer, oldest first
		outTail    *reply
		writing    bool  // somebody is the writer
		broken     error // the first failed write; later replies are dropped
		readerWait bool  // the reader waits on changed
	}
	// changed wakes the reader when a request is released or a batch written.
	changed sync.Cond
	// queued wakes the worker that rests.
	queued sync.Cond

	batches [2]reply
	gather  [maxGather][]byte // the writer's
	vec     net.Buffers       // the writer's
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s, nc: nc, remote: remoteName(nc)}
	c.changed.L, c.queued.L = &c.mu, &c.mu
	c.in = input{src: nc, buf: make([]byte, handshakeInput)}
	return c
}

// serve runs a connection from the greeting to the end.
func (c *conn) serve() {
	err := c.handshake()
	if err == nil {
		err = c.transmit()
	}
	c.finish(err)
	c.srv.logEnd(c, err)
}

// transmit serves requests until the client leaves, the server drains, or the
// stream can no longer be understood. Only the last is an error.
func (c *conn) transmit() error {
	c.in.grow(inputSize)
	for i := range c.batches {
		c.batches[i].data = make([]byte, 0, batchSize)
	}
	c.batch = &c.batches[0]
	for {
		cmd, err := c.next()
		if err == nil {
			err = c.dispatch(cmd)
		}
		switch {
		case err == nil:
		case errors.Is(err, errDisconnect), errors.Is(err, io.EOF):
			return nil
		case c.draining.Load() && errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		default:
			return err
		}
	}
}

// finish ends the connection after the reader stopped for err: what is
// outstanding is finished, and replied to unless the socket failed.
func (c *conn) finish(err error) {
	if err != nil && !errors.Is(err, errProtocol) {
		c.nc.Close()
	} else if c.batch != nil {
		c.flush()
	}
	c.mu.Lock()
	for c.mu.inflight > 0 || c.mu.writing {
		c.wait()
	}
	c.mu.Unlock()
	c.dismiss()
	c.nc.Close()
	if c.export != nil {
		if err := c.export.Close(); err != nil {
			c.srv.complain("export failed to close", "client", c.remote, "export", c.info.Name, "err", err)
		}
	}
}

// begin ends the handshake's deadline. It fails if the server drains.
func (c *conn) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.draining {
		return errDraining
	}
	c.mu.name = c.info.Name
	return c.nc.SetDeadline(time.Time{})
}

// drain makes the connection refuse requests and end when nothing is in flight.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.draining = true
	c.draining.Store(true)
	c.endIfDrained()
}

// endIfDrained wakes the reader from its read for good if the connection drains
// and nothing is in flight. Requires c.mu.
func (c *conn) endIfDrained() {
	if c.mu.draining && c.mu.inflight == 0 {
		c.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// wait sleeps until changed. Only the reader calls it. Requires c.mu.
func (c *conn) wait() {
	c.mu.readerWait = true
	c.changed.Wait()
	c.mu.readerWait = false
}

// wake wakes the reader if it waits. Requires c.mu.
func (c *conn) wake() {
	if c.mu.readerWait {
		c.changed.Signal()
	}
}

// admit counts a request that may hold n bytes in buffers as in flight. At the
// limits it waits until others are released: the reader reads no further.
func (c *conn) admit(cmd command, n int64) *request {
	c.mu.Lock()
	if c.full(n) {
		c.mu.Unlock()
		c.flush()
		c.mu.Lock()
		for c.full(n) {
			c.wait()
		}
	}
	c.mu.inflight++
	c.mu.bytes += n
	c.mu.Unlock()
	return newRequest(cmd, n)
}

// full says whether a request with n bytes exceeds the limits. A request that
// is alone never does. Requires c.mu.
func (c *conn) full(n int64) bool {
	return c.mu.inflight >= maxInflight || c.mu.bytes > 0 && c.mu.bytes+n > maxInflightBytes
}

// release ends what admit began. Requires c.mu.
func (c *conn) release(r *request) {
	c.mu.inflight--
	c.mu.bytes -= r.charge
	if invariants.Enabled {
		invariants.Check(c.mu.inflight >= 0 && c.mu.bytes >= 0,
			"nbd: %d requests, %d bytes in flight", c.mu.inflight, c.mu.bytes)
	}
	r.free()
	c.endIfDrained()
}
