package uffd

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A load of a hole waits until the memfd has a page there that is mapped, and
// sees what is in it; one of a page that is there needs only the mapping.
func TestMissingAndMinor(t *testing.T) {
	c := start(t, 8)
	loaded := c.ask(request{Op: "load", Page: 2})
	c.expect(2, Missing, false)
	if done, err := c.Continue(c.at(2), pageSize, true); done != 0 || !errors.Is(err, ErrNoPage) {
		t.Errorf("a hole is mapped: %d bytes, %v", done, err)
	}
	c.write(2, 42)
	c.grant(2, 1, true)
	if got := c.answer(loaded); got != 42 {
		t.Errorf("loaded %d", got)
	}

	c.write(3, 43)
	loaded = c.ask(request{Op: "load", Page: 3})
	c.expect(3, Minor, false)
	c.grant(3, 1, true)
	if got := c.answer(loaded); got != 43 {
		t.Errorf("loaded %d", got)
	}
}

// A store to a page that was mapped by a load is announced, and once again
// after its access was taken away; in between it is not.
func TestWriteProtect(t *testing.T) {
	c := start(t, 8)
	c.write(5, 1)
	loaded := c.ask(request{Op: "load", Page: 5})
	c.expect(5, Minor, false)
	c.grant(5, 1, true)
	c.answer(loaded)

	for value := byte(10); value < 13; value++ {
		stored := c.ask(request{Op: "store", Page: 5, Value: value})
		c.expect(5, WriteProtect, true)
		before := c.read(5)
		c.must(c.Unprotect(c.at(5), pageSize))
		c.answer(stored)
		c.answer(c.ask(request{Op: "store", Page: 5, Value: value + 100}))
		if got := c.read(5); before == value || got != value+100 {
			t.Errorf("stored %d and %d: %d before it was granted, %d at the end", value, value+100, before, got)
		}
		c.must(c.Protect(c.at(5), pageSize))
		// A load needs no more than it has.
		if got := c.answer(c.ask(request{Op: "load", Page: 5})); got != int64(value+100) {
			t.Errorf("loaded %d", got)
		}
	}
}

// A store to a page that is not mapped can be granted at once.
func TestStoreUnmapped(t *testing.T) {
	c := start(t, 4)
	for page, kind := range []Kind{Missing, Minor} {
		if kind == Minor {
			c.write(page, 1)
		}
		stored := c.ask(request{Op: "store", Page: page, Value: 9})
		c.expect(page, kind, true)
		c.write(page, 2)
		c.grant(page, 1, false)
		c.answer(stored)
		if got := c.read(page); got != 9 {
			t.Errorf("page %d holds %d", page, got)
		}
	}
}

// What a page is mapped with is for Continue to say, also where the range was
// protected before there was a page.
func TestProtectUnmapped(t *testing.T) {
	c := start(t, 4)
	c.write(1, 1)
	c.write(2, 1)
	c.must(c.Protect(c.at(0), 4*pageSize))
	stored := c.ask(request{Op: "store", Page: 1, Value: 9})
	c.expect(1, Minor, true)
	c.grant(1, 1, true)
	c.expect(1, WriteProtect, true)
	c.must(c.Unprotect(c.at(1), pageSize))
	c.answer(stored)

	c.grant(2, 1, false)
	c.answer(c.ask(request{Op: "store", Page: 2, Value: 9}))
}

// A run is mapped by one call. Pages of it that are mapped already keep the
// access they have, and do not stop it; a hole does.
func TestRun(t *testing.T) {
	c := start(t, 64)
	for page := range 32 {
		c.write(page, byte(page))
	}
	c.grant(4, 1, false) // writable
	c.grant(9, 3, true)
	copied := c.ask(request{Op: "copy", Page: 0, Count: 16})
	if f := c.next(); f.Kind != Minor || f.Addr < c.at(0) || f.Addr >= c.at(16) {
		t.Fatalf("fault %+v", f)
	}
	c.grant(0, 16, true)
	if got := c.answer(copied); got != int64(16*pageSize) {
		t.Errorf("%d bytes copied", got)
	}
	c.answer(c.ask(request{Op: "store", Page: 4, Value: 1}))
	stored := c.ask(request{Op: "store", Page: 10, Value: 1})
	c.expect(10, WriteProtect, true)
	c.must(c.Unprotect(c.at(10), pageSize))
	c.answer(stored)

	if done, err := c.Continue(c.at(24), 16*pageSize, true); done != 8*pageSize || !errors.Is(err, ErrNoPage) {
		t.Errorf("%d bytes mapped of 8 pages before a hole: %v", done, err)
	}
	if done, err := c.Continue(c.at(0), 0, true); done != 0 || err != nil {
		t.Errorf("nothing mapped: %d bytes, %v", done, err)
	}
}

// Who waits for a page that others got mapped in the meantime is woken.
func TestContinueWakes(t *testing.T) {
	c := start(t, 2)
	c.write(0, 7)
	var loaded [3]<-chan reply
	for i := range loaded {
		loaded[i] = c.ask(request{Op: "load"})
	}
	for range loaded {
		c.expect(0, Minor, false)
	}
	const continueSilent = 1 << 0 // UFFDIO_CONTINUE_MODE_DONTWAKE: mapped, and nobody woken
	arg := fillArg{rangeArg: rangeArg{uint64(c.at(0)), uint64(pageSize)}, mode: continueProtected | continueSilent}
	if errno := ioctl(c.Fd(), ioContinue, unsafe.Pointer(&arg)); errno != 0 {
		t.Fatal(errno)
	}
	c.grant(0, 1, true)
	for i := range loaded {
		if got := c.answer(loaded[i]); got != 7 {
			t.Errorf("loaded %d", got)
		}
	}
}

// A poisoned page is a SIGBUS, which a program can turn into an error; the next
// page goes on. Once dropped it is asked for afresh.
func TestPoison(t *testing.T) {
	for name, served := range map[string]struct {
		kind Kind
		op   string
	}{"load of a hole": {Missing, "load"}, "store to a hole": {Missing, "store"}, "store": {Minor, "store"}} {
		t.Run(name, func(t *testing.T) {
			c := start(t, 4)
			if served.kind == Minor {
				c.write(1, 5)
			}
			asked := c.ask(request{Op: served.op, Page: 1, Value: 9})
			c.expect(1, served.kind, served.op == "store")
			c.must(c.Poison(c.at(1), pageSize))
			c.refused(asked, 1)
			c.refused(c.ask(request{Op: "load", Page: 1}), 1)

			c.write(2, 6)
			c.grant(2, 1, true)
			if got := c.answer(c.ask(request{Op: "load", Page: 2})); got != 6 {
				t.Errorf("the next page reads %d", got)
			}

			c.answer(c.ask(request{Op: "drop", Page: 1, Count: 1}))
			asked = c.ask(request{Op: served.op, Page: 1, Value: 9})
			c.expect(1, served.kind, served.op == "store")
			c.write(1, 5)
			c.grant(1, 1, false)
			c.answer(asked)
		})
	}
}

// A page that is mapped, or was when it was punched, is poisoned only as a hole.
// Poison outlives another punch, and yields to a mapping.
func TestPoisonMapped(t *testing.T) {
	c := start(t, 4)
	c.write(0, 1)
	c.write(1, 1)
	c.grant(1, 1, true)
	at := fmt.Sprintf("%d bytes at %#x", pageSize, c.at(1))
	if err := c.Poison(c.at(0), 2*pageSize); !errors.Is(err, ErrMapped) || !strings.Contains(err.Error(), at) {
		t.Errorf("a mapped page, %s, poisoned: %v", at, err)
	}
	c.refused(c.ask(request{Op: "load", Page: 0}), 0)
	c.answer(c.ask(request{Op: "load", Page: 1}))

	stored := c.ask(request{Op: "store", Page: 1, Value: 9})
	c.expect(1, WriteProtect, true)
	c.punch(1, 1)
	if err := c.Poison(c.at(1), pageSize); !errors.Is(err, ErrMapped) {
		t.Errorf("the mark of a protected page is no obstacle here: %v", err)
	}
	c.must(c.PoisonHole(c.at(0), 2*pageSize))
	c.refused(stored, 1)

	c.punch(0, 2)
	c.refused(c.ask(request{Op: "load", Page: 1}), 1)
	c.write(1, 3)
	c.grant(1, 1, true)
	if got := c.answer(c.ask(request{Op: "load", Page: 1})); got != 3 {
		t.Errorf("loaded %d", got)
	}
}

// Punching the memfd takes the page out of the process, whatever access it had.
func TestPunch(t *testing.T) {
	for _, protect := range []bool{true, false} {
		c := start(t, 4)
		c.write(1, 1)
		c.grant(1, 1, protect)
		c.answer(c.ask(request{Op: "load", Page: 1}))
		if !protect {
			c.answer(c.ask(request{Op: "store", Page: 1, Value: 4}))
		}
		c.punch(1, 1)
		loaded := c.ask(request{Op: "load", Page: 1})
		c.expect(1, Missing, false)
		c.write(1, 2)
		c.grant(1, 1, true)
		if got := c.answer(loaded); got != 2 {
			t.Errorf("loaded %d after the punch", got)
		}
		stored := c.ask(request{Op: "store", Page: 1, Value: 5})
		c.expect(1, WriteProtect, true)
		c.must(c.Unprotect(c.at(1), pageSize))
		c.answer(stored)
	}
}

// While pages are protected no store reaches them, however many threads try.
// Each round begins when stores have gone through since the last.
func TestProtectHoldsStill(t *testing.T) {
	const pages, threads, rounds = 8, 4, 300
	for _, env := range []string{"GOMAXPROCS=1", "GOMAXPROCS=4"} {
		t.Run(env, func(t *testing.T) {
			if env == "GOMAXPROCS=1" {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
			}
			c := start(t, pages, env)
			var held sync.Mutex // while it is, nothing is granted
			var server sync.WaitGroup
			server.Go(func() { c.serveAll(&held) })
			defer server.Wait()
			defer c.Close()

			c.answer(c.ask(request{Op: "storm", Count: threads}))
			random := rand.New(rand.NewPCG(1, 2))
			last := slices.Clone(c.frames)
			for range rounds {
				for slices.Equal(c.frames, last) {
					time.Sleep(20 * time.Microsecond)
				}
				held.Lock()
				first := random.IntN(pages)
				count := 1 + random.IntN(pages-first)
				c.must(c.Protect(c.at(first), count*pageSize))
				run := c.frames[first*pageSize : (first+count)*pageSize]
				snapshot := slices.Clone(run)
				for range 20 {
					runtime.Gosched()
				}
				if !slices.Equal(snapshot, run) {
					t.Error("a store reached a protected page")
				}
				last = slices.Clone(c.frames)
				held.Unlock()
			}
			c.answer(c.ask(request{Op: "calm"}))
		})
	}
}

// serveAll grants everything, until the descriptor is closed.
func (c *child) serveAll(held *sync.Mutex) {
	var faults [16]Fault
	for {
		n, err := c.ReadFaults(faults[:])
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				c.tb.Error(err)
			}
			return
		}
		for _, f := range faults[:n] {
			held.Lock()
			addr := f.Addr &^ uintptr(pageSize-1)
			if f.Kind == WriteProtect {
				err = c.Unprotect(addr, pageSize)
			} else {
				if page := int(addr-c.base) / pageSize; f.Kind == Missing {
					c.frames[page*pageSize+pageSize-1] = 0
				}
				_, err = c.Continue(addr, pageSize, true)
			}
			held.Unlock()
			if err != nil && !errors.Is(err, os.ErrClosed) {
				c.tb.Error(err)
			}
		}
	}
}

// With one processor on both sides, a memmove over pages that all fault goes
// through, with collections at both ends of it.
func TestOneProcessor(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	c := start(t, 256, "GOMAXPROCS=1", "GOGC=1")
	for page := range 256 {
		c.write(page, byte(page))
	}
	var held sync.Mutex
	var server sync.WaitGroup
	server.Go(func() { c.serveAll(&held) })
	for range 3 {
		c.answer(c.ask(request{Op: "copy", Count: 256}))
		runtime.GC()
		c.answer(c.ask(request{Op: "stores", Count: 256}))
		c.answer(c.ask(request{Op: "drop", Count: 256}))
	}
	c.Close()
	server.Wait()
}

// The kernel's own stores into the mapping are served where the process may
// have that, and fail with EFAULT where it may not.
func TestKernelFaults(t *testing.T) {
	for _, env := range [][]string{nil, {envNobody + "=1"}} {
		if env != nil && os.Getuid() != 0 {
			t.Log("not root: a process without privileges is what the first case was")
			continue
		}
		c := start(t, 2, env...)
		t.Logf("%v: kernel faults %v", env, c.hello.KernelFaults)
		asked := c.ask(request{Op: "pread"})
		if !c.hello.KernelFaults {
			if r := <-asked; r.Err != "read /dev/zero: "+unix.EFAULT.Error() {
				t.Errorf("read into the mapping: %+v", r)
			}
			continue
		}
		if f := c.next(); f.Addr != c.at(0) || f.Kind != Missing || !f.Write {
			t.Errorf("fault %+v", f)
		}
		c.write(0, 1)
		c.grant(0, 1, false)
		c.answer(asked)
		if got := c.read(0); got != 0 {
			t.Errorf("the page holds %d", got)
		}
	}
}
