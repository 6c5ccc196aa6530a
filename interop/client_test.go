package interop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

// The parts of the NBD protocol that a client without structured replies uses.
const (
	nbdMagic         = 0x4e42444d41474943 // NBDMAGIC
	optMagic         = 0x49484156454f5054 // IHAVEOPT
	optReplyMagic    = 0x3e889045565a9
	requestMagic     = 0x25609513
	simpleReplyMagic = 0x67446698

	clientFixedNewstyle = 1
	clientNoZeroes      = 2
	optGo               = 7
	replyAck            = 1
	replyInfo           = 3

	cmdRead        = 0
	cmdWrite       = 1
	cmdFlush       = 3
	cmdTrim        = 4
	cmdWriteZeroes = 6
	flagFUA        = 1
	flagNoHole     = 2
)

// errConnection says that the server is gone, in whatever way that shows.
var errConnection = errors.New("connection lost")

// nbdError is an error number that the server replied.
type nbdError uint32

func (e nbdError) Error() string { return fmt.Sprintf("the server replied error %d", uint32(e)) }

// client is one NBD connection. Any number of goroutines may use it at once.
type client struct {
	conn net.Conn

	send sync.Mutex // held while a request is written

	mu struct {
		sync.Mutex
		cookie  uint64
		pending map[uint64]*request
		lost    bool
	}
	done chan struct{} // closed when the reader has returned
}

// request is one that waits for its reply.
type request struct {
	into  []byte // where a read's data goes
	reply chan error
}

// dial connects to the volume of a pool.
func dial(t *testing.T, p *pool) *client {
	t.Helper()
	c, err := connect(p)
	if err != nil {
		t.Fatalf("connecting to the NBD server: %v", err)
	}
	t.Cleanup(c.close)
	return c
}

func connect(p *pool) (*client, error) {
	conn, err := net.Dial("unix", p.socket())
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, done: make(chan struct{})}
	c.mu.pending = map[uint64]*request{}
	if err := c.handshake(volumeName); err != nil {
		conn.Close()
		return nil, err
	}
	go c.read()
	return c, nil
}

func (c *client) handshake(name string) error {
	var hello struct {
		Magic, Version uint64
		Flags          uint16
	}
	if err := binary.Read(c.conn, binary.BigEndian, &hello); err != nil {
		return err
	}
	if hello.Magic != nbdMagic || hello.Version != optMagic {
		return fmt.Errorf("greeting %#x %#x is not newstyle NBD", hello.Magic, hello.Version)
	}
	msg := binary.BigEndian.AppendUint32(nil, clientFixedNewstyle|clientNoZeroes)
	msg = binary.BigEndian.AppendUint64(msg, optMagic)
	msg = binary.BigEndian.AppendUint32(msg, optGo)
	msg = binary.BigEndian.AppendUint32(msg, uint32(4+len(name)+2))
	msg = binary.BigEndian.AppendUint32(msg, uint32(len(name)))
	msg = append(msg, name...)
	msg = binary.BigEndian.AppendUint16(msg, 0)
	if _, err := c.conn.Write(msg); err != nil {
		return err
	}
	for {
		var head struct {
			Magic             uint64
			Opt, Type, Length uint32
		}
		if err := binary.Read(c.conn, binary.BigEndian, &head); err != nil {
			return err
		}
		body := make([]byte, head.Length)
		if _, err := io.ReadFull(c.conn, body); err != nil {
			return err
		}
		switch {
		case head.Magic != optReplyMagic || head.Opt != optGo:
			return fmt.Errorf("reply %#x to option %d", head.Magic, head.Opt)
		case head.Type == replyAck:
			return nil
		case head.Type != replyInfo:
			return fmt.Errorf("the server refused %q: reply %#x %q", name, head.Type, body)
		}
	}
}

// read hands each reply to whoever waits for it, until the connection ends.
func (c *client) read() {
	defer close(c.done)
	for {
		var head struct {
			Magic, Error uint32
			Cookie       uint64
		}
		if binary.Read(c.conn, binary.BigEndian, &head) != nil || head.Magic != simpleReplyMagic {
			break
		}
		c.mu.Lock()
		r := c.mu.pending[head.Cookie]
		delete(c.mu.pending, head.Cookie)
		c.mu.Unlock()
		if r == nil {
			break
		}
		if head.Error != 0 {
			r.reply <- nbdError(head.Error)
			continue
		}
		if _, err := io.ReadFull(c.conn, r.into); err != nil {
			r.reply <- errConnection
			break
		}
		r.reply <- nil
	}
	c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.lost = true
	for _, r := range c.mu.pending {
		r.reply <- errConnection
	}
	c.mu.pending = nil
}

// call sends a request and waits for its reply.
func (c *client) call(cmd, flags uint16, off, n int64, payload, into []byte) error {
	r := &request{into: into, reply: make(chan error, 1)}
	c.mu.Lock()
	if c.mu.lost {
		c.mu.Unlock()
		return errConnection
	}
	c.mu.cookie++
	cookie := c.mu.cookie
	c.mu.pending[cookie] = r
	c.mu.Unlock()

	head := binary.BigEndian.AppendUint32(make([]byte, 0, 28+len(payload)), requestMagic)
	head = binary.BigEndian.AppendUint16(head, flags)
	head = binary.BigEndian.AppendUint16(head, cmd)
	head = binary.BigEndian.AppendUint64(head, cookie)
	head = binary.BigEndian.AppendUint64(head, uint64(off))
	head = binary.BigEndian.AppendUint32(head, uint32(n))
	head = append(head, payload...)
	c.send.Lock()
	_, err := c.conn.Write(head)
	c.send.Unlock()
	if err != nil {
		// The reader meets the same end and answers everybody who waits.
		c.conn.Close()
	}
	return <-r.reply
}

func (c *client) readAt(p []byte, off int64) error {
	return c.call(cmdRead, 0, off, int64(len(p)), nil, p)
}

func (c *client) writeAt(p []byte, off int64, flags uint16) error {
	return c.call(cmdWrite, flags, off, int64(len(p)), p, nil)
}

func (c *client) flush() error { return c.call(cmdFlush, 0, 0, 0, nil, nil) }

// close ends the connection and returns when its goroutine has.
func (c *client) close() {
	c.conn.Close()
	<-c.done
}
