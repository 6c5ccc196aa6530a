package attach

import (
	"fmt"
	"runtime"
	"testing"

	"holdfast.dev/holdfast/cache"
)

// processors runs a test with as many as there are, and with one on each side.
func processors(t *testing.T, f func(t *testing.T, env string)) {
	t.Run("many", func(t *testing.T) { f(t, "GOMAXPROCS=4") })
	t.Run("one", func(t *testing.T) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
		f(t, "GOMAXPROCS=1")
	})
}

func TestStoreAndLoad(t *testing.T) {
	bothModes(t, testStoreAndLoad)
}

func testStoreAndLoad(t *testing.T, newHouse func(t testing.TB, o Options) *house) {
	processors(t, func(t *testing.T, env string) {
		h := newHouse(t, Options{})
		h.put(3, 33)
		c := h.client(64, env)
		c.do("load 3", "ok 33")
		c.do("store 3 34", "ok")
		h.sees(3, 34)
		c.do("store 4 44", "ok")
		h.sees(4, 44)
		h.put(4, 45)
		c.do("load 4", "ok 45")
		for round := range 3 {
			// After each write-out the next store has to be announced again.
			c.do(fmt.Sprintf("store 3 %d", 100+round), "ok")
			c.do("sync", "ok")
			h.stored(3, byte(100+round))
		}
		if st := h.server.Stats(); h.mode == Announced && (st.Protects == 0 || st.WriteFaults == 0) || h.mode == Async && st.Scans == 0 {
			t.Errorf("%+v", st)
		}
	})
}

// The last store before a sync that somebody else asks for is not lost.
func TestStoreAfterWriteOut(t *testing.T) {
	bothModes(t, testStoreAfterWriteOut)
}

func testStoreAfterWriteOut(t *testing.T, newHouse func(t testing.TB, o Options) *house) {
	h := newHouse(t, Options{})
	c := h.client(8)
	for v := range 50 {
		c.do(fmt.Sprintf("store 5 %d", v), "ok")
		if err := h.handle.Sync(); err != nil {
			t.Fatal(err)
		}
		h.stored(5, byte(v))
	}
}

func TestCollectorWhileFaulting(t *testing.T) {
	bothModes(t, testCollectorWhileFaulting)
}

func testCollectorWhileFaulting(t *testing.T, newHouse func(t testing.TB, o Options) *house) {
	processors(t, func(t *testing.T, env string) {
		h := newHouse(t, Options{})
		c := h.client(256, env)
		c.do("gc", "ok")
		for page := range int64(256) {
			h.sees(page, 7)
		}
	})
}

func TestTwoClients(t *testing.T) {
	bothModes(t, testTwoClients)
}

func testTwoClients(t *testing.T, newHouse func(t testing.TB, o Options) *house) {
	h := newHouse(t, Options{})
	a, b := h.client(16), h.client(16)
	a.do("store 1 11", "ok")
	b.do("load 1", "ok 11")
	b.do("store 1 12", "ok")
	a.do("load 1", "ok 12")
	a.do("sync", "ok")
	h.stored(1, 12)
	b.do("store 1 13", "ok")
	a.do("store 1 14", "ok")
	b.do("load 1", "ok 14")
	b.do("sync", "ok")
	h.stored(1, 14)
}

// A window in the middle of a volume is served at its own offset.
func TestWindowOffset(t *testing.T) {
	bothModes(t, testWindowOffset)
}

func testWindowOffset(t *testing.T, newHouse func(t testing.TB, o Options) *house) {
	h := newHouse(t, Options{})
	h.put(100, 1)
	c := h.client(1)
	c.do("unmap", "ok")
	c.do("map vol 100 3", "ok")
	c.do("load 0", "ok 1")
	c.do("store 2 9", "ok")
	h.sees(102, 9)
	h.sees(2, 0)
	c.do("sync", "ok")
	h.stored(102, 9)
	c.do("unmap", "ok")
	c.do("map vol 0 0", "ok")
	c.do(fmt.Sprintf("store %d 5", housePages-1), "ok")
	h.sees(housePages-1, 5)
}

func TestBadMaps(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client(1)
	c.fails("map other 0 1", "no such volume")
	c.fails(fmt.Sprintf("map vol %d 1", housePages), "the volume has")
	c.fails(fmt.Sprintf("map vol 1 %d", housePages), "the volume has")
	for range DefaultMaxWindows - 1 {
		c.do("map vol 0 1", "ok")
	}
	c.fails("map vol 0 1", "more than 16 windows")
	c.do("load 0", "ok 0")
}

func TestReadOnly(t *testing.T) {
	h := newHouse(t, Options{})
	h.put(2, 22)
	c := start(t, "client", "HOLDFAST_ATTACH_SOCKET="+h.socket)
	c.do("mapro vol 0 16", "ok")
	c.do("load 2", "ok 22")
	h.put(2, 23)
	c.do("load 2", "ok 23")
	c.fails("store 2 1", "for reading only")
	h.sees(2, 23)
	c.do("load 2", "ok 23")
	if err := h.handle.Discard(2*cache.PageSize, cache.PageSize); err != nil {
		t.Fatal(err)
	}
	c.do("load 2", "ok 0")
	c.do("sync", "ok")
}

// Discard and truncate take pages out of the client: what it reads is what is
// there.
func TestDiscardAndTruncate(t *testing.T) {
	bothModes(t, testDiscardAndTruncate)
}

func testDiscardAndTruncate(t *testing.T, newHouse func(t testing.TB, o Options) *house) {
	h := newHouse(t, Options{})
	c := h.client(housePages)
	c.do("store 5 55", "ok")
	c.do("load 6", "ok 0")
	if err := h.handle.Discard(5*cache.PageSize, 2*cache.PageSize); err != nil {
		t.Fatal(err)
	}
	c.do("load 5", "ok 0")
	c.do("store 6 66", "ok")
	h.sees(6, 66)
	c.do("store 900 9", "ok")
	if err := h.mapping.Truncate(512*cache.PageSize, cache.RefusePinned); err != nil {
		t.Fatal(err)
	}
	c.fails("load 900", "refused")
	c.fails("store 900 1", "refused")
	c.do("load 6", "ok 66")
	if err := h.mapping.Truncate(housePages*cache.PageSize, cache.RefusePinned); err != nil {
		t.Fatal(err)
	}
	c.do("load 900", "ok 0")
	c.do("store 900 2", "ok")
	h.sees(900, 2)
}

func TestAdvise(t *testing.T) {
	bothModes(t, testAdvise)
}

func testAdvise(t *testing.T, newHouse func(t testing.TB, o Options) *house) {
	h := newHouse(t, Options{})
	h.put(7, 7)
	c := h.client(256)
	c.do("advise 1", "ok")
	c.do("advise 3", "ok")
	c.do("load 7", "ok 7")
	c.do("store 7 8", "ok")
	c.do("advise 2", "ok")
	c.do("load 7", "ok 8")
	c.do("store 7 9", "ok")
	h.sees(7, 9)
	c.fails("advise 77", "invalid")
}

// System calls may be given the memory where the machine allows it.
func TestKernelFaults(t *testing.T) {
	bothModes(t, testKernelFaults)
}

func testKernelFaults(t *testing.T, newHouse func(t testing.TB, o Options) *house) {
	h := newHouse(t, Options{})
	c := h.client(16)
	c.tell("read 3 77")
	switch got := c.answer(); got {
	case "error no kernel faults":
		t.Skip("this machine does not deliver the kernel's own faults to this user")
	case "ok":
		h.sees(3, 77)
	default:
		t.Fatal(got)
	}
}

// What changes behind the server's back is seen by all, and breaks nothing.
func TestStoreBehindTheBack(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client(16)
	c.do("store 1 1", "ok")
	c.do("sync", "ok")
	c.do("raw 1 2", "ok")
	c.do("load 1", "ok 2")
	c.do("store 2 3", "ok")
	c.do("sync", "ok")
	h.stored(2, 3)
}
