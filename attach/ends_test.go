package attach

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestKilledClient(t *testing.T) {
	bothModes(t, testKilledClient)
}

func testKilledClient(t *testing.T, newHouse func(t testing.TB, o Options) *house) {
	h := newHouse(t, Options{})
	a, b := h.client(64), h.client(64)
	for page := range 64 {
		a.do(line("load", page), "ok 0")
	}
	for page := range 64 {
		a.do(line("store", page, 100+page), "ok")
	}
	a.kill()
	h.clients(1)
	for page := range 64 {
		h.sees(int64(page), byte(100+page))
		b.do(line("load", page), "ok "+line("", 100+page)[1:])
	}
	if err := h.handle.Sync(); err != nil {
		t.Fatal(err)
	}
	for page := range 64 {
		h.stored(int64(page), byte(100+page))
	}
	b.do("store 1 1", "ok")
	b.do("sync", "ok")
	h.stored(1, 1)
}

// Killed in the middle of everything, while the server writes out.
func TestKilledWhileStoring(t *testing.T) {
	bothModes(t, testKilledWhileStoring)
}

func testKilledWhileStoring(t *testing.T, newHouse func(t testing.TB, o Options) *house) {
	h := newHouse(t, Options{})
	for range 5 {
		a := h.client(64)
		a.do("load 0", "ok "+line("", int(h.first(h.handle, 0)))[1:])
		a.tell("storm")
		before := h.steps()
		eventually(t, "stores", func() bool {
			if err := h.handle.Sync(); err != nil {
				t.Fatal(err)
			}
			return h.steps() > before+200
		})
		a.kill()
		if err := h.handle.Sync(); err != nil {
			t.Fatal(err)
		}
		h.clients(0)
		for page := range int64(64) {
			h.stored(page, h.first(h.handle, page))
		}
	}
	if st := h.server.Stats(); st.Detached != 0 {
		t.Errorf("%+v: %q", st, h.log.lines())
	}
}

// A stopped client holds up nobody.
func TestStoppedClient(t *testing.T) {
	bothModes(t, testStoppedClient)
}

func testStoppedClient(t *testing.T, newHouse func(t testing.TB, o Options) *house) {
	h := newHouse(t, Options{})
	a, b := h.client(64), h.client(64)
	a.do("store 1 1", "ok")
	a.tell("storm")
	a.stop()
	if err := h.handle.Sync(); err != nil {
		t.Fatal(err)
	}
	h.stored(1, h.first(h.handle, 1))
	b.do("store 1 200", "ok")
	b.do("sync", "ok")
	h.stored(1, 200)
	b.do("close", "ok")
	h.clients(1)
	if err := h.server.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	a.signal(syscall.SIGCONT)
	if got := a.answer(); got == "storm <nil>" {
		t.Fatal(got)
	}
}

// A client finds errors, not zeros and not an endless wait, when the server is
// killed: in what it has mapped, in what it has not, and while it waits.
func TestKilledServer(t *testing.T) {
	t.Run("announced", func(t *testing.T) { killedServer(t, Announced) })
	t.Run("async", func(t *testing.T) { killedServer(t, Async) })
}

func killedServer(t *testing.T, mode Flags) {
	needMode(t, mode)
	socket := filepath.Join(t.TempDir(), "attach")
	h := &house{t: t, socket: socket, mode: mode}
	s := start(t, "server", "HOLDFAST_ATTACH_SOCKET="+socket, h.modeEnv())
	// Without the runtime's signals only the watcher wakes who waits.
	a := h.client(64, "GOMAXPROCS=4", "GODEBUG=asyncpreemptoff=1")
	b, d := h.client(64, "GOMAXPROCS=1"), h.client(64)
	a.do("store 1 1", "ok")
	d.do("load 1", "ok 1")
	s.stop()
	a.tell("fill 2 2")
	b.tell("store 3 3")
	time.Sleep(50 * time.Millisecond) // for them to wait
	s.kill()
	for _, c := range []*child{a, b} {
		if got := c.answer(); !strings.Contains(got, "the server is gone") {
			t.Fatal(got)
		}
	}
	eventually(t, "the end of the third one's mapping", func() bool {
		d.tell("load 1")
		return d.answer() != "ok 1"
	})
	for _, c := range []*child{a, b, d} {
		c.fails("load 1", "the server is gone")
		c.fails("load 40", "the server is gone")
		c.fails("store 1 1", "the server is gone")
		c.fails("sync", "the server is gone")
		c.fails("map vol 0 1", "the server is gone")
		c.do("close", "ok")
	}
}

// Shutdown takes access away before it lets go: what a client stored until then
// is there, what it tries afterwards fails.
func TestShutdownWhileStoring(t *testing.T) {
	bothModes(t, testShutdownWhileStoring)
}

func testShutdownWhileStoring(t *testing.T, newHouse func(t testing.TB, o Options) *house) {
	for _, procs := range []string{"GOMAXPROCS=1", "GOMAXPROCS=4"} {
		h := newHouse(t, Options{})
		c := h.client(64, procs)
		c.tell("storm")
		before := h.steps()
		eventually(t, "stores", func() bool {
			if err := h.handle.Sync(); err != nil {
				t.Fatal(err)
			}
			return h.steps() > before+100
		})
		if err := h.server.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := h.handle.Sync(); err != nil {
			t.Fatal(err)
		}
		for page := range int64(64) {
			h.stored(page, h.first(h.handle, page))
		}
		c.expect("ok")
		if got := c.answer(); got == "storm <nil>" {
			t.Fatal(got)
		}
	}
}

// A client that has unmapped as the protocol goes, but still has the memory,
// cannot store to it.
func TestUnmapTakesAccessAway(t *testing.T) {
	bothModes(t, testUnmapTakesAccessAway)
}

func testUnmapTakesAccessAway(t *testing.T, newHouse func(t testing.TB, o Options) *house) {
	h := newHouse(t, Options{})
	c := h.client(64, "GOMAXPROCS=4")
	c.do("store 1 1", "ok")
	c.do("leave", "ok")
	c.do("later store 1 2", "ok")
	time.Sleep(50 * time.Millisecond) // for the store to happen, if it can
	if h.mode == Announced {
		// Otherwise the page has been taken away as a whole.
		c.do("load 1", "ok 1")
	}
	h.sees(1, 1)
	c.kill()
}

// What cannot be reached in time is not waited for again.
func TestUnreachable(t *testing.T) {
	stuck := make(chan struct{})
	r := newReach(func(c call) error {
		if c.op == opProtect {
			<-stuck
		}
		return nil
	}, 20*time.Millisecond)
	if err := r.do(opShow, 0, 1); err != nil {
		t.Fatal(err)
	}
	if err := r.do(opProtect, 0, 1); !errors.Is(err, errUnreachable) {
		t.Fatal(err)
	}
	if err := r.do(opShow, 0, 1); !errors.Is(err, errUnreachable) {
		t.Fatal("one that was lost is tried again")
	}
	r.end()
	close(stuck)
}

// All who serve may be stuck: then the next is given up too.
func TestUnreachableByAll(t *testing.T) {
	stuck, begun := make(chan struct{}), make(chan struct{}, reachWorkers)
	r := newReach(func(call) error {
		begun <- struct{}{}
		<-stuck
		return nil
	}, 50*time.Millisecond)
	ended := make(chan error)
	for range reachWorkers + 1 {
		go func() { ended <- r.do(opShow, 0, 1) }()
	}
	for range reachWorkers + 1 {
		if err := <-ended; !errors.Is(err, errUnreachable) {
			t.Error(err)
		}
	}
	r.end()
	close(stuck)
}
