package attach

import (
	"errors"
	"testing"

	"holdfast.dev/holdfast/cache"
)

// What another process has pinned to write is never quiet, is made durable by a
// sync of others, and is dirty when the pin ends, however it does.
func TestPin(t *testing.T) {
	bothModes(t, testPin)
}

func testPin(t *testing.T, newHouse func(t testing.TB, o Options) *house) {
	h := newHouse(t, Options{})
	c := h.client(64)
	c.do("pin 2 3", "ok")
	if got := h.cache.Stats().Pinned; got != 3*cache.PageSize {
		t.Errorf("%d bytes are pinned", got)
	}
	for i := byte(1); i < 4; i++ {
		c.do("store 3 "+string('0'+rune(i)), "ok")
		if err := h.handle.Sync(); err != nil {
			t.Fatal(err)
		}
		if got := h.first(h.backing, 3); got != i {
			t.Errorf("the sync made %d durable, %d was stored", got, i)
		}
		if h.mapping.Quiet(0, 8*cache.PageSize) {
			t.Error("a pinned page is quiet")
		}
	}
	c.do("unpin", "ok")
	c.fails("unpin", "invalid")
	c.do("pinro 2 3", "ok")
	c.do("unpinunchanged", "ok")
	if err := h.handle.Sync(); err != nil || !h.mapping.Quiet(0, 8*cache.PageSize) {
		t.Errorf("after the pins: %v, quiet %v", err, h.mapping.Quiet(0, 8*cache.PageSize))
	}
	c.do("pin 2 3", "ok")
	c.kill()
	h.clients(0)
	if got := h.cache.Stats().Pinned; got != 0 {
		t.Errorf("%d bytes are pinned by a process that was killed", got)
	}
}

// While a page is pinned to write, write-outs leave write access to it alone; when
// the pin ends, the next store after a write-out is announced again. A neighbour
// that is not pinned is announced each time. Where stores are not announced there
// are no faults in either case, and all the same no store is lost.
func TestPinSparesFaults(t *testing.T) {
	bothModes(t, testPinSparesFaults)
}

func testPinSparesFaults(t *testing.T, newHouse func(t testing.TB, o Options) *house) {
	for _, unpin := range []string{"unpin", "unpinunchanged"} {
		h := newHouse(t, Options{})
		c := h.client(64)
		faults := func(page, n int) (all int64) {
			t.Helper()
			before := h.server.Stats().WriteFaults
			for v := 1; v <= n; v++ {
				c.do(line("store", page, v), "ok")
				if err := h.handle.Sync(); err != nil {
					t.Fatal(err)
				}
				h.stored(int64(page), byte(v))
			}
			return h.server.Stats().WriteFaults - before
		}
		c.do("load 2", "ok 0")
		c.do("pin 3 1", "ok")
		faults(3, 1)
		if n := faults(3, 10); n != 0 {
			t.Errorf("%d faults at a page that is pinned", n)
		}
		if n := faults(4, 10); h.mode == Announced && n < 10 || h.mode == Async && n > 1 {
			t.Errorf("%d faults at the page beside", n)
		}
		c.do(unpin, "ok")
		c.do("store 3 99", "ok") // with the access that it has, and nobody hears of it
		if err := h.handle.Sync(); err != nil {
			t.Fatal(err)
		}
		h.stored(3, 99)
		if n := faults(3, 10); h.mode == Announced && n < 10 || h.mode == Async && n != 0 {
			t.Errorf("after the pin there are %d faults", n)
		}
		if got := h.cache.Stats().Unannounced; got != 0 {
			t.Errorf("%d changes count as unannounced", got)
		}
	}
}

// A pin that cannot be had is refused, and leaves nothing behind.
func TestPinRefused(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client(64)
	h.backing.set(func(page int64) error {
		if page == 5 {
			return errFull
		}
		return nil
	}, nil)
	c.fails("pin 4 4", "refused")
	c.fails("pin 60 8", "invalid")
	c.fails("pin 1 0", "invalid")
	if s := h.cache.Stats(); s.Pinned != 0 || s.Dirty != 0 {
		t.Errorf("%+v", s)
	}
	h.backing.set(nil, func(int64) error { return errors.New("the disk is broken") })
	c.fails("pin 20 1", "failed")
	h.backing.set(nil, nil)
	for range pinsMost {
		c.do("pin 1 1", "ok")
		c.do("unpin", "ok")
	}
	ro := start(t, "client", "HOLDFAST_ATTACH_SOCKET="+h.socket)
	ro.do("mapro vol 0 8", "ok")
	ro.fails("pin 0 1", "invalid")
	ro.do("pinro 0 1", "ok")
	ro.do("unmap", "ok")
	ro.do("close", "ok")
}
