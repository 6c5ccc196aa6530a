package uffd

import (
	"errors"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// asyncMode has the child make its userfaultfd in the mode Async.
const asyncMode = envAsync + "=1"

// startAsync runs a child in the mode Async, with all its pages mapped.
func startAsync(t *testing.T, pages int) *child {
	t.Helper()
	fd, err := Create(Async)
	if errors.Is(err, ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	fd.Close()
	c := start(t, pages, asyncMode)
	c.must(c.Probe(c.base))
	for page := range pages {
		c.write(page, 1)
	}
	c.grant(0, pages, true)
	return c
}

// stored scans the whole of the child's memory, a few regions at a time.
func (c *child) stored(pages int) (list []int, err error) {
	for at, end := c.base, c.at(pages); at < end; {
		var regions [2]Region
		found, done, err := c.Stored(at, int(end-at), regions[:])
		if err != nil {
			return list, err
		}
		for i := range found {
			for a := found[i].Start; found[i].Stored() && a < found[i].End; a += uint64(pageSize) {
				list = append(list, int(uintptr(a)-c.base)/pageSize)
			}
		}
		at += uintptr(done)
	}
	return list, nil
}

func (c *child) expectStored(pages int, want ...int) {
	c.tb.Helper()
	if got, err := c.stored(pages); err != nil || !slices.Equal(got, want) {
		c.tb.Fatalf("%v are found to have been stored to, want %v: %v", got, want, err)
	}
}

// A store waits for nobody and is found by the next scan, once: also where the
// page has gone from the process since, by its own doing or by a punch.
func TestStored(t *testing.T) {
	const pages = 8
	c := startAsync(t, pages)
	c.expectStored(pages)
	for value := range byte(3) {
		for _, page := range []int{2, 5} {
			c.answer(c.ask(request{Op: "store", Page: page, Value: value}))
			if got := c.read(page); got != value {
				t.Fatalf("page %d holds %d", page, got)
			}
		}
		c.expectStored(pages, 2, 5)
		c.expectStored(pages)
	}
	c.answer(c.ask(request{Op: "store", Page: 3, Value: 9}))
	c.answer(c.ask(request{Op: "drop", Page: 3, Count: 2}))
	c.expectStored(pages, 3)
	c.expectStored(pages)
	c.answer(c.ask(request{Op: "store", Page: 6, Value: 9}))
	c.punch(6, 1)
	c.punch(7, 1)
	c.expectStored(pages, 6)
	// A page that is mapped again after all that is protected again.
	for _, page := range []int{3, 4, 6, 7} {
		c.write(page, 1)
		c.grant(page, 1, true)
	}
	c.expectStored(pages)
	c.answer(c.ask(request{Op: "store", Page: 6, Value: 8}))
	c.expectStored(pages, 6)
}

// Memory that is not there any more, or something else, is no reason to believe
// that nothing was stored.
func TestStoredElsewhere(t *testing.T) {
	c := startAsync(t, 16)
	c.answer(c.ask(request{Op: "unmap", Page: 14, Count: 2}))
	for what, pages := range map[string]int{"the end": 16, "nothing but a gap": 1} {
		first := c.at(16 - pages)
		var regions [4]Region
		if _, _, err := c.Stored(first, pages*pageSize, regions[:]); !errors.Is(err, ErrNotRegistered) {
			t.Errorf("%s: %v", what, err)
		}
	}
	c.expectStored(14)
	c.answer(c.ask(request{Op: "unmap", Page: 10, Count: 1}))
	var regions [4]Region
	if _, _, err := c.Stored(c.at(8), 4*pageSize, regions[:]); !errors.Is(err, ErrNotRegistered) {
		t.Errorf("the middle: %v", err)
	}
	c.answer(c.ask(request{Op: "replace", Page: 4, Count: 1}))
	if _, err := c.stored(14); !errors.Is(err, ErrNotRegistered) {
		t.Errorf("replaced: %v", err)
	}
	c.kill()
	if _, err := c.stored(4); !errors.Is(err, ErrGone) {
		t.Errorf("ended: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.stored(4); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// What is not the page map of the process whose userfaultfd came is refused.
func TestWrongPagemap(t *testing.T) {
	c := startAsync(t, 4)
	open := func(path string) int {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	for what, fd := range map[string]int{
		"a file": open(os.Args[0]), "another file of /proc": open("/proc/self/maps"), "nothing": 1 << 20,
	} {
		if _, err := AdoptAsync(c.fd, fd); !errors.Is(err, ErrNotPagemap) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := AdoptAsync(open(os.Args[0]), open(pagemapPath)); !errors.Is(err, ErrNotUserfaultfd) {
		t.Errorf("no userfaultfd: %v", err)
	}
	other := startAsync(t, 4)
	for what, fd := range map[string]int{"its server's": open(pagemapPath), "another client's": other.pagemap} {
		mixed := &FD{fd: c.fd, pagemap: fd, features: Async.features()}
		if err := mixed.Probe(c.base); !errors.Is(err, ErrNotPagemap) {
			t.Errorf("%s page map: %v", what, err)
		}
	}
	announced := start(t, 4)
	if _, err := AdoptAsync(announced.fd, open(pagemapPath)); !errors.Is(err, ErrNotUserfaultfd) {
		t.Errorf("a userfaultfd of the other mode: %v", err)
	}
	if _, err := Adopt(c.fd); !errors.Is(err, ErrNotUserfaultfd) {
		t.Errorf("the other way round: %v", err)
	}
}
