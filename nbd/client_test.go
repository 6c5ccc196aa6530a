package nbd

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// patience is how long a test waits for what must come. It only bounds how long
// a failing test hangs.
const patience = 20 * time.Second

// testServer serves a catalogue on a Unix socket.
type testServer struct {
	*Server
	t    testing.TB
	path string
}

// start serves c until the test ends, and checks then that exports are closed.
func start(t testing.TB, c *catalogue, o Options) *testServer {
	t.Helper()
	o.Exports = c
	s := &testServer{NewServer(o), t, filepath.Join(t.TempDir(), "s")}
	l, err := net.Listen("unix", s.path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-done; err != ErrServerClosed {
			t.Errorf("Serve returned %v", err)
		}
		c.checkClosed(t)
	})
	return s
}

// client is a connection that speaks the protocol a byte at a time.
type client struct {
	net.Conn
	t testing.TB
	// structured decides how the reply to a READ is read.
	structured bool
}

// dial connects without a word.
func (s *testServer) dial() *client {
	s.t.Helper()
	nc, err := net.Dial("unix", s.path)
	if err != nil {
		s.t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(patience))
	c := &client{Conn: nc, t: s.t}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// greeted connects and exchanges the flags.
func (s *testServer) greeted() *client {
	s.t.Helper()
	c := s.dial()
	c.expectGreeting()
	c.send(be32(handshakeFixedNewstyle | handshakeNoZeroes))
	return c
}

// connect goes all the way to transmission, on the default export.
func (s *testServer) connect(structured bool) *client {
	s.t.Helper()
	c := s.greeted()
	if structured {
		c.mustAck(optStructuredReply, nil)
		c.mustAck(optSetMeta, metaData("", contextAllocation))
		c.structured = true
	}
	c.mustAck(optGo, infoData(""))
	return c
}

func be16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
func be64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func lenText(s string) []byte { return append(be32(uint32(len(s))), s...) }

func infoData(name string, items ...uint16) []byte {
	b := append(lenText(name), be16(uint16(len(items)))...)
	for _, i := range items {
		b = append(b, be16(i)...)
	}
	return b
}

func metaData(name string, queries ...string) []byte {
	b := append(lenText(name), be32(uint32(len(queries)))...)
	for _, q := range queries {
		b = append(b, lenText(q)...)
	}
	return b
}

func optionBytes(code uint32, data []byte) []byte {
	return cat(be64(magicOption), be32(code), be32(uint32(len(data))), data)
}

func requestBytes(flags, typ uint16, cookie, off uint64, length uint32) []byte {
	return cat(be32(magicRequest), be16(flags), be16(typ), be64(cookie), be64(off), be32(length))
}

func (c *client) send(parts ...[]byte) {
	c.t.Helper()
	if _, err := c.Write(cat(parts...)); err != nil {
		c.t.Fatalf("sending: %v", err)
	}
}

func (c *client) take(n int) []byte {
	c.t.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(c, p); err != nil {
		c.t.Fatalf("reading %d bytes: %v", n, err)
	}
	return p
}

// expectEnd checks that the server closes the connection without another byte.
func (c *client) expectEnd() {
	c.t.Helper()
	rest, err := io.ReadAll(c)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		c.t.Fatal("the server did not close the connection")
	}
	if len(rest) > 0 {
		c.t.Fatalf("%d bytes before the end: %.80x", len(rest), rest)
	}
}

func (c *client) expectGreeting() {
	c.t.Helper()
	want := cat(be64(magicServer), be64(magicOption), be16(handshakeFixedNewstyle|handshakeNoZeroes))
	if got := c.take(18); !bytes.Equal(got, want) {
		c.t.Fatalf("greeting %x, want %x", got, want)
	}
}

// optReply is one reply to an option.
type optReply struct {
	typ  uint32
	data []byte
}

func (c *client) optReply(code uint32) optReply {
	c.t.Helper()
	h := c.take(optReplyHeaderSize)
	if binary.BigEndian.Uint64(h) != magicOptReply || binary.BigEndian.Uint32(h[8:]) != code {
		c.t.Fatalf("reply to option %d begins with %x", code, h)
	}
	return optReply{binary.BigEndian.Uint32(h[12:]), c.take(int(binary.BigEndian.Uint32(h[16:])))}
}

// option sends an option and returns all replies up to the last.
func (c *client) option(code uint32, data []byte) []optReply {
	c.t.Helper()
	c.send(optionBytes(code, data))
	return c.optReplies(code)
}

func (c *client) optReplies(code uint32) []optReply {
	c.t.Helper()
	var all []optReply
	for {
		r := c.optReply(code)
		all = append(all, r)
		if r.typ == repAck || r.typ>>31 != 0 {
			return all
		}
	}
}

// final sends an option and returns the type of the last reply.
func (c *client) final(code uint32, data []byte) uint32 {
	c.t.Helper()
	all := c.option(code, data)
	return all[len(all)-1].typ
}

func (c *client) mustAck(code uint32, data []byte) []optReply {
	c.t.Helper()
	all := c.option(code, data)
	if last := all[len(all)-1]; last.typ != repAck {
		c.t.Fatalf("option %d: reply %#x %q", code, last.typ, last.data)
	}
	return all
}

// chunk is one chunk of a reply; a simple reply is taken for one, too.
type chunk struct {
	simple bool
	typ    uint16
	done   bool
	cookie uint64
	err    uint32 // error number
	text   string // of an error
	off    uint64 // of data, a hole, or an error
	n      int    // length of a hole
	data   []byte // of READ, or the body of a block status
}

// chunk reads one; n is how much data a successful simple reply carries.
func (c *client) chunk(n int) chunk {
	c.t.Helper()
	switch magic := binary.BigEndian.Uint32(c.take(4)); magic {
	case magicSimple:
		h := c.take(12)
		k := chunk{simple: true, done: true, err: binary.BigEndian.Uint32(h), cookie: binary.BigEndian.Uint64(h[4:])}
		if k.err == 0 {
			k.data = c.take(n)
		}
		return k
	case magicStructured:
		h := c.take(16)
		k := chunk{
			done:   binary.BigEndian.Uint16(h)&chunkDone != 0,
			typ:    binary.BigEndian.Uint16(h[2:]),
			cookie: binary.BigEndian.Uint64(h[4:]),
		}
		k.parse(c.t, c.take(int(binary.BigEndian.Uint32(h[12:]))))
		return k
	default:
		c.t.Fatalf("a reply begins with %#x", magic)
		panic("unreachable")
	}
}

func (k *chunk) parse(t testing.TB, p []byte) {
	t.Helper()
	switch k.typ {
	case chunkNone:
		if len(p) != 0 || !k.done {
			t.Fatalf("chunk without content has %d bytes, done %v", len(p), k.done)
		}
	case chunkData:
		k.off, k.data = binary.BigEndian.Uint64(p), p[8:]
	case chunkHole:
		k.off, k.n = binary.BigEndian.Uint64(p), int(binary.BigEndian.Uint32(p[8:]))
	case chunkBlockStatus:
		k.data = p
	case chunkError, chunkErrorOffset:
		k.err = binary.BigEndian.Uint32(p)
		n := int(binary.BigEndian.Uint16(p[4:]))
		k.text = string(p[6 : 6+n])
		if k.typ == chunkErrorOffset {
			k.off = binary.BigEndian.Uint64(p[6+n:])
		}
	default:
		t.Fatalf("unknown chunk type %#x", k.typ)
	}
}

// do sends one request, reads its whole reply, and returns its error number and
// the data of a READ, put together.
func (c *client) do(flags, typ uint16, off uint64, length uint32, payload []byte) (uint32, []byte) {
	c.t.Helper()
	c.send(requestBytes(flags, typ, 77, off, length), payload)
	return c.result(typ, 77, off, length)
}

// result reads the reply to one request while no other is outstanding.
func (c *client) result(typ uint16, cookie, off uint64, length uint32) (code uint32, data []byte) {
	c.t.Helper()
	n := 0
	if typ == cmdRead {
		n = int(length)
	}
	for {
		k := c.chunk(n)
		if typ == cmdRead && k.err == 0 && data == nil {
			data = bytes.Repeat([]byte{0xEE}, n)
		}
		if k.cookie != cookie {
			c.t.Fatalf("reply to %d, want %d", k.cookie, cookie)
		}
		if k.simple && typ == cmdRead && c.structured {
			c.t.Fatal("simple reply to a READ although structured replies were negotiated")
		}
		switch {
		case k.err != 0:
			code = k.err
		case k.typ == chunkHole:
			clear(data[k.off-off:][:k.n])
		case k.typ == chunkBlockStatus:
			data = k.data
		default:
			if typ == cmdRead {
				copy(data[k.off-min(off, k.off):], k.data)
			}
		}
		if k.done {
			return code, data
		}
	}
}

// must is do for a request that must succeed.
func (c *client) must(flags, typ uint16, off uint64, length uint32, payload []byte) []byte {
	c.t.Helper()
	code, data := c.do(flags, typ, off, length, payload)
	if code != 0 {
		c.t.Fatalf("%s of %d at %d: error %d", commandName(typ), length, off, code)
	}
	return data
}

// logTo returns a logger that writes warnings to b.
func logTo(b io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }
