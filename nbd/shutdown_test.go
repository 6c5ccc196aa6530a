package nbd

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast.dev/holdfast/internal/limitlog"
)

// shutdown runs Shutdown with time enough, and fails the test if it fails.
func (s *testServer) shutdown() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		s.t.Error(err)
	}
}

// While the server drains, what is outstanding is finished, what comes is
// answered with ESHUTDOWN, and then the connection ends.
func TestDrain(t *testing.T) {
	for _, structured := range []bool{false, true} {
		d, gate := stuckDisk(1 << 20)
		s := start(t, serving(d), Options{DrainTimeout: patience})
		cl := s.connect(structured)
		cl.send(requestBytes(0, cmdRead, 1, 1<<19, 512))
		until(t, "the miss waits", func() bool { return s.Stats().Clients[0].Inflight == 1 })
		done := make(chan struct{})
		go func() { defer close(done); s.shutdown() }()
		until(t, "the server drains", s.conns.Closed)
		until(t, "the connection drains", func() bool {
			code, _ := cl.do(0, cmdRead, 0, 512, nil)
			return code == nbdESHUTDOWN
		})
		for _, typ := range []uint16{cmdFlush, cmdTrim, 99} {
			if code, _ := cl.do(0, typ, 0, 0, nil); code != nbdESHUTDOWN {
				t.Errorf("%s while draining: error %d", commandName(typ), code)
			}
		}
		if code, _ := cl.do(0, cmdWrite, 0, 4096, make([]byte, 4096)); code != nbdESHUTDOWN {
			t.Errorf("write while draining: error %d", code)
		}
		if _, err := net.Dial("unix", s.path); err == nil {
			t.Error("the server still listens while draining")
		}
		close(gate)
		if k := cl.chunk(512); k.cookie != 1 || k.err != 0 {
			t.Errorf("the outstanding read: %+v", k)
		}
		cl.expectEnd()
		<-done
	}
}

// Wherever clients stall, Shutdown ends soon, and their exports are closed. The
// cleanup of start checks the latter.
func TestShutdownWithStalledClients(t *testing.T) {
	stalls := map[string]func(s *testServer){
		"connected, silent":    func(s *testServer) { s.dial() },
		"greeted, silent":      func(s *testServer) { s.greeted() },
		"in an option":         func(s *testServer) { s.greeted().send(be64(magicOption), be32(optGo)) },
		"in an option's data":  func(s *testServer) { s.greeted().send(be64(magicOption), be32(optGo), be32(100), be32(50)) },
		"in a discarded one":   func(s *testServer) { s.greeted().send(be64(magicOption), be32(99), be32(maxOptionDiscard)) },
		"not reading the list": func(s *testServer) { stallInList(s) },
		"idle":                 func(s *testServer) { s.connect(true) },
		"in a header":          func(s *testServer) { s.connect(true).send(be32(magicRequest)) },
		"in a payload": func(s *testServer) {
			s.connect(true).send(requestBytes(0, cmdWrite, 1, 0, 4096), make([]byte, 100))
		},
		"in a long payload": func(s *testServer) {
			s.connect(true).send(requestBytes(0, cmdWrite, 1, 0, MaxPayload), make([]byte, 100))
		},
		"in a refused payload": func(s *testServer) {
			s.connect(true).send(requestBytes(0, cmdWrite, 1, 1<<62, maxDiscard), make([]byte, 100))
		},
		"not reading replies to hits": func(s *testServer) { stallReplies(s, 0) },
		"not reading replies to misses": func(s *testServer) {
			stallReplies(s, 32<<20)
		},
	}
	for name, stall := range stalls {
		t.Run(name, func(t *testing.T) {
			d := newDisk(64 << 20)
			d.cached = func(off, _ int64) bool { return off < d.size/2 }
			d.extents = allData
			ex := serving(d)
			for range 100 {
				ex.add(Info{Name: strings.Repeat("n", maxString)}, d)
			}
			s := start(t, ex, Options{DrainTimeout: 50 * time.Millisecond, HandshakeTimeout: time.Hour})
			for range 3 {
				stall(s)
			}
			until(t, "all are connected", func() bool { return len(s.Stats().Clients) == 3 })
			s.shutdown()
			if n := len(s.Stats().Clients); n != 0 {
				t.Errorf("%d connections are left", n)
			}
		})
	}
}

// stallInList asks for long lists and reads nothing.
func stallInList(s *testServer) {
	cl := s.greeted()
	for range 50 {
		cl.send(optionBytes(optList, nil))
	}
}

// stallReplies asks for more than the sockets hold, from offset off, and reads
// nothing.
func stallReplies(s *testServer, off uint64) {
	cl := s.connect(false)
	for i := range uint64(20) {
		cl.send(requestBytes(0, cmdRead, i, off, 1<<20))
	}
}

// An export that hangs holds Shutdown until its context ends, not longer; the
// error says what is missing.
func TestShutdownWithAHangingExport(t *testing.T) {
	d, gate := stuckDisk(1 << 20)
	s := start(t, serving(d), Options{DrainTimeout: time.Millisecond})
	cl := s.connect(false)
	cl.send(requestBytes(0, cmdRead, 1, 1<<19, 512))
	until(t, "the miss waits", func() bool { return s.Stats().Clients[0].Inflight == 1 })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown returned %v", err)
	}
	if d.closed.Load() != 0 {
		t.Error("the export was closed under a running read")
	}
	close(gate)
	s.shutdown()
}

// Options that arrive while the server drains get ERR_SHUTDOWN, but ABORT its
// ack, and EXPORT_NAME the end.
func TestOptionsWhileDraining(t *testing.T) {
	for _, c := range []struct {
		name string
		code uint32
		data []byte
		want uint32 // 0: the connection ends
	}{
		{"go", optGo, infoData("main"), repErrShutdown},
		{"list", optList, nil, repErrShutdown},
		{"unknown", 99, nil, repErrShutdown},
		{"abort", optAbort, nil, repAck},
		{"export name", optExportName, []byte("main"), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			gate, listing := make(chan struct{}), make(chan struct{})
			ex := serving(newDisk(1 << 20))
			var once sync.Once
			ex.listing = func() { once.Do(func() { close(listing); <-gate }) }
			s := start(t, ex, Options{DrainTimeout: patience})
			cl := s.greeted()
			cl.send(optionBytes(optInfo, infoData("main")), optionBytes(c.code, c.data))
			<-listing
			done := make(chan struct{})
			go func() { defer close(done); s.shutdown() }()
			until(t, "the connection drains", func() bool {
				draining := false
				s.Server.conns.Each(func(c *conn, _ time.Time) { draining = c.draining.Load() }, nil)
				return draining
			})
			close(gate)
			cl.optReplies(optInfo)
			if c.want != 0 {
				if r := cl.optReplies(c.code); r[len(r)-1].typ != c.want {
					t.Errorf("reply %#x, want %#x", r[len(r)-1].typ, c.want)
				}
			}
			cl.expectEnd()
			<-done
		})
	}
}

// A client that is too slow with the handshake is cut off, and one that is done
// with it is not.
func TestHandshakeDeadline(t *testing.T) {
	s := start(t, serving(newDisk(1<<20)), Options{HandshakeTimeout: 2 * time.Second})
	quick := s.connect(false)
	silent := s.dial()
	silent.expectGreeting()
	silent.expectEnd()
	until(t, "the silent one is counted", func() bool { return s.Stats().Broken == 1 })
	quick.must(0, cmdRead, 0, 512, nil)
}

func TestConnectionsAreCapped(t *testing.T) {
	var log lockedBuilder
	s := start(t, serving(newDisk(1<<20)), Options{MaxConns: 2, Log: logTo(&log)})
	a, b := s.connect(false), s.dial()
	b.expectGreeting()
	for range 3 * limitlog.Burst {
		c := s.dial()
		c.expectEnd()
	}
	if st := s.Stats(); st.Accepted != 2 || st.Refused != 3*limitlog.Burst {
		t.Errorf("%d accepted, %d refused", st.Accepted, st.Refused)
	}
	if n := strings.Count(log.String(), "too many"); n == 0 || n > limitlog.Burst {
		t.Errorf("%d lines are logged", n)
	}
	b.Close()
	until(t, "the place is free", func() bool { return len(s.Stats().Clients) == 1 })
	s.connect(false).must(0, cmdRead, 0, 512, nil)
	a.must(0, cmdRead, 0, 512, nil)
}

type lockedBuilder struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuilder) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuilder) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// One server serves several listeners, TCP with gathered replies and without
// delay; after Shutdown it serves none.
func TestSeveralListeners(t *testing.T) {
	ex := serving(newDisk(1 << 20))
	s := start(t, ex, Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	s.connect(false).must(0, cmdWrite, 0, 4, []byte("abcd"))
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	cl := &client{Conn: nc, t: t}
	defer cl.Close()
	cl.expectGreeting()
	cl.send(be32(3))
	cl.mustAck(optGo, infoData("main"))
	if got := cl.must(0, cmdRead, 0, 4, nil); string(got) != "abcd" {
		t.Errorf("read %q over TCP", got)
	}
	s.shutdown()
	if err := <-served; err != ErrServerClosed {
		t.Errorf("Serve returned %v", err)
	}
	l, err = net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); err != ErrServerClosed {
		t.Errorf("Serve after Shutdown returned %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is left open: %v", err)
	}
}

// A listener that fails is tried again; one that somebody closed is reported.
func TestAcceptErrors(t *testing.T) {
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	flaky := &flakyListener{Listener: l, fails: 2}
	s := NewServer(Options{Exports: serving(newDisk(1 << 20))})
	served := make(chan error, 1)
	go func() { served <- s.Serve(flaky) }()
	nc, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := io.ReadFull(nc, make([]byte, 18)); err != nil {
		t.Errorf("no greeting after failed accepts: %v", err)
	}
	l.Close()
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve returned %v", err)
	}
	(&testServer{Server: s, t: t}).shutdown()
}

type flakyListener struct {
	net.Listener
	fails int
}

func (l *flakyListener) Accept() (net.Conn, error) {
	if l.fails > 0 {
		l.fails--
		return nil, errTest
	}
	return l.Listener.Accept()
}
