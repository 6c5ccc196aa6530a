package nbd

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// until waits for what another goroutine must bring about.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// stuckDisk serves reads of the first half from memory; every other call waits
// for the gate.
func stuckDisk(size int64) (d *disk, gate chan struct{}) {
	d, gate = newDisk(size), make(chan struct{})
	d.cached = func(off, _ int64) bool { return off < size/2 }
	d.before = func(string, int64, int64) error { <-gate; return nil }
	d.extents = allData
	return d, gate
}

// Hits are answered while misses, flushes, trims and the like wait, as many as
// may be in flight less one.
func TestMissDoesNotDelayAHit(t *testing.T) {
	const size = 1 << 20
	d, gate := stuckDisk(size)
	cl := start(t, serving(d), Options{}).connect(true)
	slow := []uint16{cmdRead, cmdFlush, cmdTrim, cmdCache, cmdWriteZeroes, cmdBlockStatus}
	for i := range uint64(maxInflight - 1) {
		typ, off, n := slow[i%uint64(len(slow))], uint64(size/2), uint32(512)
		if typ == cmdFlush {
			off, n = 0, 0
		}
		cl.send(requestBytes(0, typ, 1000+i, off, n))
	}
	for i := range uint64(100) {
		cl.send(requestBytes(0, cmdRead, i, i*512, 512))
		if k := cl.chunk(0); k.cookie != i || k.err != 0 {
			t.Fatalf("reply to %d with error %d, want the hit %d", k.cookie, k.err, i)
		}
		if code, _ := cl.do(0, cmdWrite, i*512, 512, make([]byte, 512)); code != 0 {
			t.Fatalf("error %d", code)
		}
	}
	close(gate)
	seen := map[uint64]bool{}
	for range maxInflight - 1 {
		k := cl.chunk(0)
		if !k.done || k.err != 0 || seen[k.cookie] {
			t.Fatalf("reply %+v", k)
		}
		seen[k.cookie] = true
	}
}

// At the cap on requests the server reads no further, and goes on when some are
// done. Nothing is lost.
func TestInflightRequestsAreCapped(t *testing.T) {
	const size = 1 << 20
	d, gate := stuckDisk(size)
	s := start(t, serving(d), Options{})
	cl := s.connect(false)
	const n = 3 * maxInflight
	go func() {
		for i := range uint64(n) {
			cl.Write(requestBytes(0, cmdRead, i, size/2, 512))
		}
	}()
	until(t, "the cap is reached", func() bool { return s.Stats().Clients[0].Inflight == maxInflight })
	for range 50 {
		runtime.Gosched()
		if got := s.Stats().Clients[0].Inflight; got > maxInflight {
			t.Fatalf("%d requests in flight", got)
		}
	}
	if got := runtime.NumGoroutine(); got > maxWorkers+30 {
		t.Errorf("%d goroutines", got)
	}
	close(gate)
	for range n {
		if k := cl.chunk(512); k.err != 0 {
			t.Fatalf("error %d", k.err)
		}
	}
}

// At the cap on bytes, too; a request of the largest size is admitted alone.
func TestInflightBytesAreCapped(t *testing.T) {
	const size = 256 << 20
	d, gate := stuckDisk(size)
	s := start(t, serving(d), Options{})
	cl := s.connect(false)
	const each, n = 8 << 20, 12
	for i := range uint64(n) {
		cl.send(requestBytes(0, cmdRead, i, size/2, each))
	}
	const fit = maxInflightBytes / each
	until(t, "the cap is reached", func() bool { return s.Stats().Clients[0].Inflight == fit })
	for range 50 {
		runtime.Gosched()
		if got := s.Stats().Clients[0].Inflight; got > fit {
			t.Fatalf("%d requests of %d bytes in flight", got, each)
		}
	}
	close(gate)
	for range n {
		if k := cl.chunk(each); k.err != 0 {
			t.Fatalf("error %d", k.err)
		}
	}
	cl.must(0, cmdRead, size/2, MaxPayload, nil)
}

// A client that reads nothing makes the server hold a bounded number of replies.
func TestUnreadRepliesAreBounded(t *testing.T) {
	d := newDisk(1 << 20)
	var served atomic.Int64
	d.cached = func(int64, int64) bool { served.Add(1); return true }
	s := start(t, serving(d), Options{})
	cl := s.connect(false)
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		for range 10000 {
			if _, err := cl.Write(requestBytes(0, cmdRead, 1, 0, 64<<10)); err != nil {
				return
			}
		}
	}()
	last := int64(-1)
	until(t, "the server stops reading", func() bool {
		time.Sleep(20 * time.Millisecond)
		now := served.Load()
		stopped := now == last && now > 0
		last = now
		return stopped
	})
	// Two batches, and what the two socket buffers hold.
	if held := last * 64 << 10; held > 2*batchSize+8<<20 {
		t.Errorf("%d bytes of replies were made for a client that reads none", held)
	}
	cl.Close()
	<-stop
}

// Requests in one write, cut at any place, are all served.
func TestRequestsCutAnywhere(t *testing.T) {
	r := newRand(t)
	d := newDisk(8 << 20)
	cl := start(t, serving(d), Options{}).connect(false)
	var stream []byte
	const n = 300
	want := make([]byte, d.size)
	for i := range uint64(n) {
		size := 1 + r.IntN(20000)
		if r.IntN(20) == 0 {
			size = 1 + r.IntN(2*inputSize)
		}
		off := r.IntN(len(want) - size)
		p := bytes.Repeat([]byte{byte(1 + i%255)}, size)
		copy(want[off:], p)
		stream = append(stream, requestBytes(0, cmdWrite, i, uint64(off), uint32(size))...)
		stream = append(stream, p...)
	}
	go func() {
		for len(stream) > 0 {
			k := min(len(stream), 1+r.IntN(100000))
			if r.IntN(3) == 0 {
				k = min(len(stream), 1+r.IntN(60))
			}
			cl.Write(stream[:k])
			stream = stream[k:]
		}
	}()
	for i := range uint64(n) {
		if k := cl.chunk(0); k.cookie != i || k.err != 0 {
			t.Fatalf("reply to %d with error %d, want %d", k.cookie, k.err, i)
		}
	}
	got := make([]byte, d.size)
	d.read(got, 0)
	if !bytes.Equal(got, want) {
		t.Error("the export does not hold what was written")
	}
}

// What one connection wrote, another reads; a flush on one makes durable what
// was replied to on the other.
func TestMultiConn(t *testing.T) {
	for _, hit := range []bool{false, true} {
		d := newDisk(1 << 20)
		d.cached = func(int64, int64) bool { return hit }
		s := start(t, serving(d), Options{})
		a, b := s.connect(false), s.connect(true)
		a.must(0, cmdWrite, 0, 4096, bytes.Repeat([]byte{1}, 4096))
		if got := b.must(0, cmdRead, 0, 4096, nil); got[0] != 1 {
			t.Errorf("hit %v: the other connection reads %d", hit, got[0])
		}
		if got := d.durableByte(0); got != 0 {
			t.Fatal("the test's disk made a plain write durable")
		}
		b.must(0, cmdFlush, 0, 0, nil)
		if got := d.durableByte(0); got != 1 {
			t.Errorf("hit %v: after the other connection's flush a crash leaves %d", hit, got)
		}
		a.must(0, cmdTrim, 0, 4096, nil)
		b.must(0, cmdFlush, 0, 0, nil)
		if got := d.durableByte(0); got != 0 {
			t.Errorf("hit %v: after a trim and the other's flush a crash leaves %d", hit, got)
		}
		if st := s.Stats(); len(st.Clients) != 2 || st.Clients[0].Export != "main" || st.Flushes != 2 || st.WrittenBytes != 4096 {
			t.Errorf("statistics: %+v", st)
		}
	}
}

// A reader that must wait at a cap sends the replies that it has gathered first.
func TestGatheredRepliesDoNotWaitAtTheCap(t *testing.T) {
	const size = 1 << 20
	d, gate := stuckDisk(size)
	cl := start(t, serving(d), Options{}).connect(false)
	var all []byte
	for i := range uint64(maxInflight) {
		all = append(all, requestBytes(0, cmdRead, i, size/2, 512)...)
	}
	all = append(all, requestBytes(0, cmdRead, 5000, 0, 512)...)
	all = append(all, requestBytes(0, cmdRead, 5001, size/2, 512)...)
	cl.send(all)
	if k := cl.chunk(512); k.cookie != 5000 {
		t.Errorf("reply to %d, want the hit's", k.cookie)
	}
	close(gate)
	for range maxInflight + 1 {
		cl.chunk(512)
	}
}

// A connection whose replies cannot be written ends, although its client keeps
// it open and the reader waits for more.
func TestFailedWriteEndsTheConnection(t *testing.T) {
	const size = 1 << 20
	d, gate := stuckDisk(size)
	s := start(t, serving(d), Options{})
	cl := s.connect(false)
	cl.send(requestBytes(0, cmdRead, 1, size/2, 512))
	until(t, "the miss waits", func() bool { return s.Stats().Clients[0].Inflight == 1 })
	if err := cl.Conn.(interface{ CloseRead() error }).CloseRead(); err != nil {
		t.Fatal(err)
	}
	close(gate)
	until(t, "the connection ends", func() bool { return len(s.Stats().Clients) == 0 })
	if st := s.Stats(); st.Broken != 1 {
		t.Errorf("%d broken connections are counted", st.Broken)
	}
}

// A stream that ends between messages is a client that left; one that ends
// inside a message is broken.
func TestEndOfStream(t *testing.T) {
	for _, c := range []struct {
		name   string
		send   []byte
		broken uint64
	}{
		{"between requests", nil, 0},
		{"after a request", requestBytes(0, cmdFlush, 1, 0, 0), 0},
		{"in a header", be32(magicRequest), 1},
		{"before a payload", requestBytes(0, cmdWrite, 1, 0, 512), 1},
		{"in a payload", cat(requestBytes(0, cmdWrite, 1, 0, 512), make([]byte, 100)), 1},
		{"in a long payload", cat(requestBytes(0, cmdWrite, 1, 0, MaxPayload), make([]byte, 100)), 1},
		{"in a refused payload", cat(requestBytes(0, cmdWrite, 1, 1<<62, 512), make([]byte, 100)), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, serving(newDisk(64<<20)), Options{})
			cl := s.connect(false)
			cl.send(c.send)
			if err := cl.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			until(t, "the connection ends", func() bool { return len(s.Stats().Clients) == 0 })
			if st := s.Stats(); st.Broken != c.broken {
				t.Errorf("%d broken connections are counted, want %d", st.Broken, c.broken)
			}
		})
	}
}

// Of the workers one rests when there is nothing to do, and what comes after is
// worked on at once, however many there are.
func TestOneWorkerRests(t *testing.T) {
	const size, depth = 1 << 20, 8
	d, gate := stuckDisk(size)
	var inside atomic.Int64
	d.before = func(string, int64, int64) error {
		inside.Add(1)
		<-gate
		return nil
	}
	s := start(t, serving(d), Options{})
	cl := s.connect(false)
	workers := func() (n int) {
		s.conns.Each(func(c *conn, _ time.Time) {
			c.mu.Lock()
			defer c.mu.Unlock()
			n = c.mu.workers
		}, nil)
		return n
	}
	for round := range int64(20) {
		for i := range uint64(depth) {
			cl.send(requestBytes(0, cmdTrim, i, size/2, 512))
		}
		until(t, "all are worked on", func() bool { return inside.Load() == (round+1)*depth })
		for range depth {
			gate <- struct{}{}
		}
		for range depth {
			if code := binary.BigEndian.Uint32(cl.take(simpleHeaderSize)[4:]); code != 0 {
				t.Fatalf("error %d", code)
			}
		}
		until(t, "one worker is left", func() bool { return workers() == 1 })
	}
}
