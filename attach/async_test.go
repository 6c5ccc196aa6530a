package attach

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/internal/uffd"
)

func newAsyncHouse(t testing.TB, o Options) *house { return newHouseIn(t, Async, o, 16<<20) }

// The mode is chosen where everybody can do with it, and an error says why not
// where it was asked for.
func TestChoiceOfMode(t *testing.T) {
	for _, c := range []struct {
		name            string
		owns, announced bool
		flags           Flags
		async           bool
		fails           string
	}{
		{"chosen", true, false, ReadWrite, true, ""},
		{"asked for", true, false, ReadWrite | Async, true, ""},
		{"forbidden by the client", true, false, ReadWrite | Announced, false, ""},
		{"forbidden by the server", true, true, ReadWrite, false, ""},
		{"not by the owner", false, false, ReadWrite, false, ""},
		{"nothing to store", true, false, ReadOnly, false, ""},
		{"the owner may refuse", false, false, ReadWrite | Async, false, "may be refused"},
		{"the server has others announced", true, true, ReadWrite | Async, false, "every store announced"},
		{"both", true, false, ReadWrite | Async | Announced, false, "flags"},
		{"without stores", true, false, Async, false, "flags"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newAsyncHouse(t, Options{Announced: c.announced})
			h.backing.owns.Store(c.owns)
			client, err := Open(t.Context(), h.socket)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			m, err := client.Map("vol", 0, 16*cache.PageSize, c.flags)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Fatalf("want an error with %q: %v", c.fails, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if st := h.server.Stats(); m.Async() != c.async || st.Clients[0].Windows[0].Async != c.async {
				t.Errorf("asynchronous: %v, %+v", m.Async(), st)
			}
		})
	}
	h := newAsyncHouse(t, Options{})
	hd, err := h.handle.Hold()
	if err != nil {
		t.Fatal(err)
	}
	defer hd.Release()
	if _, err := hd.WriteAt([]byte{1}, 0); err != nil {
		t.Fatal(err)
	}
	c := start(t, "client", "HOLDFAST_ATTACH_SOCKET="+h.socket, h.modeEnv())
	c.fails("map vol 0 16", "or for a hold")
}

// A store is found without anybody asking for it, in bounded time.
func TestStoreIsFound(t *testing.T) {
	h := newAsyncHouse(t, Options{})
	c := h.client(16)
	c.do("load 3", "ok 0")
	faults := h.server.Stats().WriteFaults
	c.do("store 3 7", "ok")
	if h.server.Stats().WriteFaults != faults {
		t.Error("the store was announced")
	}
	eventually(t, "a dirty page", func() bool { return h.cache.Stats().Dirty == cache.PageSize })
}

// Pages that are in use leave memory and come back with what was stored last: the
// volume is many times the cache, its client stores to all of it again and again.
func TestEvictionUnderStores(t *testing.T) {
	h := newHouseIn(t, Async, Options{}, cache.MinBudget)
	c := h.client(housePages)
	for round := range 3 {
		c.do("gc", "ok")
		for page := 0; page < housePages; page += 7 {
			// Mapped by a load, so that nobody is told of the store.
			c.tell(line("load", page))
			c.answer()
			c.do(line("store", page, round+page), "ok")
		}
		for page := 0; page < housePages; page += 7 {
			h.sees(int64(page), byte(round+page))
		}
	}
	c.do("sync", "ok")
	for page := 0; page < housePages; page += 7 {
		h.stored(int64(page), byte(2+page))
	}
	if s := h.cache.Stats(); s.Evicted == 0 || s.Unannounced != 0 {
		t.Errorf("%+v", s)
	}
}

// Both kinds of windows on the same pages.
func TestBothKindsOfWindows(t *testing.T) {
	h := newAsyncHouse(t, Options{})
	a := h.client(16)
	h.mode = Announced
	b := h.client(16)
	for v := range 20 {
		a.do(line("store", 5, v), "ok")
		b.do("load 5", fmt.Sprint("ok ", v))
		b.do("sync", "ok")
		h.stored(5, byte(v))
		b.do(line("store", 5, 100+v), "ok")
		a.do("load 5", fmt.Sprint("ok ", 100+v))
		a.do("sync", "ok")
		h.stored(5, byte(100+v))
	}
}

// A page that could not be read stays refused whoever searches for stores, and
// heals.
func TestScanPassesPoison(t *testing.T) {
	h := newAsyncHouse(t, Options{})
	h.backing.set(nil, func(page int64) error {
		if page == 300 {
			return unix.EIO
		}
		return nil
	})
	c := h.client(512)
	c.do("store 299 1", "ok")
	c.fails("bareload 300", "bare")
	c.do("sync", "ok")
	h.stored(299, 1)
	h.backing.set(nil, nil)
	eventually(t, "a load", func() bool {
		c.tell("bareload 300")
		return c.answer() == "ok 0"
	})
	c.do("store 300 3", "ok")
	c.do("sync", "ok")
	h.stored(300, 3)
	if st := h.server.Stats(); st.Detached != 0 {
		t.Errorf("%+v: %q", st, h.log.lines())
	}
}

// A client that pretends to have memory in the asynchronous mode is let go, with
// one line in the log.
func TestHostileAsync(t *testing.T) {
	open := func(t *testing.T, path string) int {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return int(f.Fd())
	}
	// offer maps memory that is served, and has the page map of a path go with it.
	offer := func(t *testing.T, e *enemy, w message, mode uffd.Mode, path string) (mem []byte) {
		fd, err := uffd.Create(mode)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { fd.Close() })
		mem = area(t, 16)
		if err := fd.Register(uintptr(address(mem)), len(mem)); err != nil {
			t.Fatal(err)
		}
		e.ask(message{kind: kindPagemap, window: w.window}, open(t, path))
		e.send(packet(message{kind: kindServe, window: w.window, addr: address(mem)}), fd.Fd())
		return mem
	}
	for _, c := range []struct {
		name, log string
		attack    func(t *testing.T, e *enemy, w message)
	}{
		{"no page map", "no descriptor", func(t *testing.T, e *enemy, w message) {
			e.send(packet(message{kind: kindServe, window: w.window, addr: 1 << 32}), open(t, os.DevNull))
		}},
		{"an empty hand", "no page map", func(t *testing.T, e *enemy, w message) {
			e.send(packet(message{kind: kindPagemap, window: w.window}))
		}},
		{"two page maps", "not one that is expected", func(t *testing.T, e *enemy, w message) {
			e.ask(message{kind: kindPagemap, window: w.window}, open(t, "/proc/self/pagemap"))
			e.send(packet(message{kind: kindPagemap, window: w.window}), open(t, "/proc/self/pagemap"))
		}},
		{"a file", "not the page map", func(t *testing.T, e *enemy, w message) {
			offer(t, e, w, uffd.Async, os.DevNull)
		}},
		{"another's page map", "not the page map", func(t *testing.T, e *enemy, w message) {
			offer(t, e, w, uffd.Async, fmt.Sprintf("/proc/%d/pagemap", os.Getppid()))
		}},
		{"the other mode", "has the features", func(t *testing.T, e *enemy, w message) {
			offer(t, e, w, uffd.Announced, "/proc/self/pagemap")
		}},
		{"other memory", "", func(t *testing.T, e *enemy, w message) {
			offer(t, e, w, uffd.Async, "/proc/self/pagemap")
			e.send(packet(message{kind: kindAdvise, window: w.window, n: 16 * cache.PageSize, flags: uint32(WillNeed)}))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newAsyncHouse(t, Options{HandshakeTimeout: 2 * time.Second})
			good := h.client(16)
			e := h.enemy()
			e.ask(message{kind: kindHello}, -1)
			w := e.ask(message{kind: kindMap, flags: mapStore | mapAsync, n: 16 * cache.PageSize, text: "vol"}, -1)
			if w.flags != mapAsync {
				t.Fatalf("%+v", w)
			}
			c.attack(t, e, w)
			wantThrownOut(t, h, e, good, c.log)
		})
	}
	h := newHouse(t, Options{HandshakeTimeout: 2 * time.Second})
	e := h.enemy()
	w := e.window()
	e.send(packet(message{kind: kindPagemap, window: w.window}), open(t, "/proc/self/pagemap"))
	e.detached()
	h.clients(0)
}

// A client that unmaps on its own is let go; what it had stored is not lost.
func TestUnmapsOnItsOwn(t *testing.T) {
	h := newAsyncHouse(t, Options{})
	c := h.client(16)
	c.do("load 3", "ok 0")
	c.do("store 3 33", "ok")
	c.do("vanish", "ok")
	if err := h.handle.Sync(); err != nil {
		t.Fatal(err)
	}
	h.stored(3, 33)
	h.clients(0)
	if lines := h.log.lines(); len(lines) != 1 || !strings.Contains(lines[0], "not registered") {
		t.Errorf("%q", lines)
	}
}

// What a client had pinned is taken away from it too.
func TestPinnedPagesAreTakenAway(t *testing.T) {
	h := newAsyncHouse(t, Options{})
	c := h.client(16, "GOMAXPROCS=4")
	c.do("store 1 1", "ok")
	c.do("pin 1 1", "ok")
	c.do("leave", "ok")
	c.do("later store 1 2", "ok")
	time.Sleep(50 * time.Millisecond) // for the store to happen, if it can
	h.sees(1, 1)
	c.kill()
}

// A window that has nothing stored to is quiet, and stays so.
func TestReadersStayQuiet(t *testing.T) {
	h := newAsyncHouse(t, Options{})
	a, b := h.client(64), h.client(64)
	a.do("store 1 1", "ok")
	if err := h.handle.Sync(); err != nil {
		t.Fatal(err)
	}
	for page := range 64 {
		a.do(line("load", page), a.loaded(page))
		b.do(line("load", page), a.loaded(page))
	}
	// What the first search of a part finds of others' pages may be written once.
	if err := h.handle.Sync(); err != nil {
		t.Fatal(err)
	}
	written := h.cache.Stats().Written
	for range 3 {
		for page := range 64 {
			b.do(line("load", page), a.loaded(page))
		}
		if !h.mapping.Quiet(0, 64*cache.PageSize) {
			t.Error("not quiet")
		}
		if err := h.handle.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if got := h.cache.Stats().Written; got != written {
		t.Errorf("%d bytes were written again", got-written)
	}
}

func (c *child) loaded(page int) string {
	if page == 1 {
		return "ok 1"
	}
	return "ok 0"
}
