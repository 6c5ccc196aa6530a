package attach

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast.dev/holdfast/cache"
)

func TestRefusal(t *testing.T) {
	processors(t, func(t *testing.T, env string) {
		h := newHouse(t, Options{})
		var asked atomic.Int64
		refuse := func(page int64) error {
			if page == 5 || page == 9 {
				asked.Add(1)
				return errFull
			}
			return nil
		}
		h.put(5, 50)
		if err := h.handle.Sync(); err != nil {
			t.Fatal(err)
		}
		h.backing.set(refuse, nil)
		c := h.client(64, env)

		c.do("load 5", "ok 50") // mapped, without write access
		c.fails("store 5 1", "at byte 20480")
		c.fails("fill 9 1", "refused") // not mapped
		h.sees(5, 50)
		h.sees(9, 0)
		c.do("load 5", "ok 50")
		c.do("store 6 6", "ok")
		c.do("fill 8 8", "ok")
		h.sees(6, 6)

		before := asked.Load()
		c.fails("store 5 1", "refused")
		if asked.Load() == before {
			t.Error("the second store was refused without asking the owner")
		}
		h.backing.set(nil, nil)
		c.do("store 5 51", "ok")
		c.do("fill 9 91", "ok")
		h.sees(5, 51)
		h.sees(9, 91)
		c.do("sync", "ok")
		h.stored(5, 51)
		if st := h.server.Stats(); st.Refused < 3 || st.Detached != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// A program that knows nothing of Try can read a refused page soon after, and
// its next store is asked too.
func TestRefusalHeals(t *testing.T) {
	h := newHouse(t, Options{})
	h.put(5, 50)
	if err := h.handle.Sync(); err != nil {
		t.Fatal(err)
	}
	h.backing.set(func(int64) error { return errFull }, nil)
	c := h.client(64)
	c.fails("bare 5 1", "bare")
	eventually(t, "a load", func() bool {
		c.tell("bareload 5")
		return c.answer() == "ok 50"
	})
	c.fails("bare 5 1", "bare")
	h.backing.set(nil, nil)
	eventually(t, "a store", func() bool {
		c.tell("bare 5 51")
		return c.answer() == "ok"
	})
	h.sees(5, 51)
}

// One client's refused store takes nothing from another.
func TestRefusalAmongClients(t *testing.T) {
	h := newHouse(t, Options{})
	h.put(5, 50)
	if err := h.handle.Sync(); err != nil {
		t.Fatal(err)
	}
	h.backing.set(func(int64) error { return errFull }, nil)
	a, b := h.client(64), h.client(64)
	a.do("load 5", "ok 50")
	b.do("load 5", "ok 50")
	a.fails("store 5 1", "refused")
	b.do("load 5", "ok 50")
	a.do("load 5", "ok 50")
	b.fails("store 5 2", "refused")
	h.sees(5, 50)
}

// What cannot be read fails where it is read, and is tried again.
func TestUnreadable(t *testing.T) {
	bothModes(t, testUnreadable)
}

func testUnreadable(t *testing.T, newHouse func(t testing.TB, o Options) *house) {
	h := newHouse(t, Options{})
	h.backing.set(nil, func(page int64) error {
		if page == 300 {
			return unix.EIO
		}
		return nil
	})
	c := h.client(512)
	c.fails("load 300", "refused")
	c.fails("store 300 1", "refused")
	c.do("load 299", "ok 0")
	h.backing.set(nil, nil)
	c.do("load 300", "ok 0")
	c.do("store 300 3", "ok")
	h.sees(300, 3)
}

// A fault that waits for a disk holds up no other.
func TestSlowFault(t *testing.T) {
	bothModes(t, testSlowFault)
}

func testSlowFault(t *testing.T, newHouse func(t testing.TB, o Options) *house) {
	h := newHouse(t, Options{})
	var once sync.Once
	waiting, release := make(chan struct{}), make(chan struct{})
	h.backing.set(nil, func(page int64) error {
		if page >= 500 {
			once.Do(func() { close(waiting) })
			<-release
		}
		return nil
	})
	a, b := h.client(512, "GOMAXPROCS=4"), h.client(512)
	a.do("later load 505", "ok")
	<-waiting
	a.do("store 3 3", "ok") // the same window
	a.do("load 99", "ok 0")
	a.do("advise 1", "ok")
	a.do("sync", "ok")
	b.do("store 3 4", "ok")
	b.do("load 100", "ok 0")
	b.do("sync", "ok")
	close(release)
	a.expect("later ok 0")
}

// A fault that was read before its page was poisoned is over: its thread was
// woken, and may have been told already.
func TestStaleFaultDoesNotPoison(t *testing.T) {
	var done []operation
	w := &window{reach: newReach(func(c call) error {
		done = append(done, c.op)
		return nil
	}, time.Minute)}
	defer w.reach.end()
	p := &pager{w: w}
	p.healer = &healer{p: p, wake: make(chan struct{}, 1)}
	p.healer.mu.pages = make(map[int64]poisoned)
	k := newWorker(p)
	k.page = 3
	for _, step := range []struct {
		reads, read int64
		want        operation
	}{{5, 4, opPoison}, {6, 5, opWake}, {6, 6, opPoison}, {7, 6, opWake}} {
		p.reads.Store(step.reads)
		k.read = step.read
		if err := k.refusePage(); err != nil {
			t.Fatal(err)
		}
		if got := done[len(done)-1]; got != step.want {
			t.Errorf("%+v: operation %d", step, got)
		}
		p.healer.tried(k.page, nil) // it is given back, which is no answer to a store
	}
}

// Nor may one poison what was given since it was read, to a second fault of the
// same thread.
func TestOvertakenFaultDoesNotPoison(t *testing.T) {
	p := &pager{w: new(window)}
	p.shown.note(3, 2, 5)
	p.opened.note(10, 1, 5)
	for _, c := range []struct {
		page, read int64
		load, want bool
	}{
		{3, 5, true, true}, {4, 5, true, true}, {5, 5, true, false}, {3, 6, true, false},
		{3, 5, false, false}, {10, 5, false, true}, {10, 5, true, true}, {10, 6, false, false},
	} {
		k := &worker{p: p, page: c.page, read: c.read, load: c.load}
		if got := k.overtaken(); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	p.w.async = true
	for page, want := range map[int64]bool{3: true, 5: false} {
		k := &worker{p: p, page: page, read: 5}
		if got := k.overtaken(); got != want {
			t.Errorf("a store to page %d in the asynchronous mode: %v", page, got)
		}
	}
}

func TestStatusOf(t *testing.T) {
	for status, err := range statusErrors {
		if got := statusOf(err); got != status {
			t.Errorf("%v: status %d, want %d", err, got, status)
		}
		if got := replyError(&message{status: status, text: "why"}); !errors.Is(got, err) {
			t.Errorf("status %d: %v", status, got)
		}
	}
	if err := replyError(&message{status: 99}); !errors.Is(err, ErrFailed) {
		t.Error(err)
	}
	if statusOf(cache.ErrWriteOut) != statusFailed {
		t.Error("an error that nobody knows is none")
	}
}
