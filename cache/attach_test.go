package cache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// The program of 2006: chunks of 1460 bytes, each filled with its number, stored
// in random order through a mapping, with a cache that is far too small. The last
// store to a page must not be lost, whatever was written out in between.
func TestStoresThroughAMapping(t *testing.T) {
	bothModes(t, func(t *testing.T, async bool) {
		for _, st := range []Stability{StabilityWait, StabilityCopy} {
			storeThroughAMapping(t, st, async)
		}
	})
}

func storeThroughAMapping(t *testing.T, st Stability, async bool) {
	const chunk = 1460
	b := newBench(t, 4*MinBudget/PageSize, Options{DirtyLimit: MinBudget / 4, Interval: time.Millisecond, Age: time.Millisecond},
		MappingOptions{Stability: st})
	tab := b.attachAs(async)
	rng := newRand(t)
	size := b.h.Size() / chunk * chunk
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 50 {
			b.sync()
		}
	})
	for _, i := range rng.Perm(int(size / chunk)) {
		p := make([]byte, chunk)
		for j := 0; j+4 <= chunk; j += 4 {
			binary.LittleEndian.PutUint32(p[j:], uint32(i))
		}
		off := int64(i) * chunk
		cut := min(int64(chunk), PageSize-off%PageSize)
		for _, part := range []struct {
			p   []byte
			off int64
		}{{p[:cut], off}, {p[cut:], off + cut}} {
			if err := tab.store(part.p, part.off); len(part.p) > 0 && err != nil {
				t.Fatal(err)
			}
		}
	}
	wg.Wait()
	b.sync()
	for what, got := range map[string][]byte{"memory": b.read(0, size), "backing": b.stored(0, size)} {
		for i := range int(size / chunk) {
			for j := 0; j+4 <= chunk; j += 4 {
				if v := binary.LittleEndian.Uint32(got[i*chunk+j:]); v != uint32(i) {
					t.Fatalf("%s, %s: chunk %d holds %d at %d", st, what, i, v, j)
				}
			}
		}
	}
	if tab.unannounced.Load() != 0 {
		t.Errorf("%d announced changes count as unannounced", tab.unannounced.Load())
	}
	if b.c.Stats().Evicted == 0 || tab.protects.Load() == 0 {
		t.Error("nothing was evicted or protected: the test tests less than it says")
	}
	if err := tab.a.Close(); err != nil {
		t.Error(err)
	}
}

// Stores, loads, writes, reads, discards and syncs of the same pages at once.
// Each task has a sector of its own in every page, so it knows what must be in
// it (holetest).
func TestMappingAmongOthers(t *testing.T) {
	for name, modes := range map[string][2]bool{"announced": {false, false}, "async": {true, true}, "mixed": {true, false}} {
		t.Run(name, func(t *testing.T) { mappingAmongOthers(t, modes) })
	}
}

func mappingAmongOthers(t *testing.T, modes [2]bool) {
	const pages = 300
	b := newBench(t, pages, Options{Interval: time.Millisecond, Age: time.Millisecond, DirtyLimit: 64 * PageSize}, MappingOptions{Stability: StabilityCopy})
	tabs := []*table{b.attachAs(modes[0]), b.attachAs(modes[1])}
	var wg sync.WaitGroup
	var last [5][pages]byte
	for task := range 5 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(*seedFlag, uint64(task)))
			h := b.open()
			defer h.Close()
			for i := range 3000 {
				n := r.Int64N(pages)
				off := n*PageSize + int64(task)*512
				v := byte(i)
				p, got := fill(512, v), make([]byte, 512)
				var err error
				if task < 4 {
					err = tabs[task%2].store(p, off)
				} else {
					_, err = h.WriteAt(p, off)
				}
				last[task][n] = v
				if r.IntN(2) == 0 && err == nil {
					err = tabs[task%2].load(got, off)
				} else if err == nil {
					_, err = h.ReadAt(got, off)
				}
				if err != nil || !bytes.Equal(got, p) {
					t.Errorf("task %d, page %d: wrote %d, read %d: %v", task, n, v, got[0], err)
					return
				}
				if i%50 == 0 {
					if err := h.SyncRange(off, PageSize/2); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	b.sync()
	for n := range int64(pages) {
		got := b.stored(n*PageSize, PageSize)
		for task := range 5 {
			if v := got[task*512]; v != last[task][n] {
				t.Errorf("page %d: the last store of task %d was %d, the backing has %d", n, task, last[task][n], v)
			}
		}
	}
	for _, tab := range tabs {
		_ = tab.a.Close()
	}
}

// If the owner refuses, the store fails, the byte is as it was, and other pages
// go on; a later try is asked afresh.
func TestStoreRefused(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	tab := b.attach()
	b.s.refuse[2*PageSize] = true
	if err := tab.store([]byte{1}, 2*PageSize); !errors.Is(err, ErrRefused) || tab.access[2] == 2 {
		t.Errorf("the store: %v", err)
	}
	if err := tab.store([]byte{1}, 3*PageSize); err != nil {
		t.Error(err)
	}
	delete(b.s.refuse, 2*PageSize)
	if err := tab.store([]byte{1}, 2*PageSize); err != nil {
		t.Error(err)
	}
	hd := b.hold()
	if _, err := hd.WriteAt([]byte{1}, 9*PageSize); err != nil {
		t.Fatal(err)
	}
	if err := tab.store([]byte{2}, 9*PageSize); !errors.Is(err, ErrHeld) {
		t.Errorf("a store to a held page: %v", err)
	}
	hd.Release()
	if err := tab.store([]byte{2}, 64*PageSize); err == nil {
		t.Error("a store beyond the end succeeded")
	}
	b.sync()
	if b.s.outstanding() != 0 {
		t.Errorf("%d pages are reserved", b.s.outstanding())
	}
}

// A withdrawn page is a hole while the refusal is put in its place, and has its
// bytes afterwards; a page that somebody may store to is left alone.
func TestWithdraw(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	tab := b.attach()
	b.write(fill(PageSize, 7), 3*PageSize)
	for _, n := range []int64{3, 20} { // present, absent
		done, err := tab.a.Withdraw(n, func() error {
			if !bytes.Equal(b.m.arena.frames(n, 1), fill(PageSize, 0)) {
				t.Errorf("page %d is in memory while it is withdrawn", n)
			}
			if b.h.TryReadAt(make([]byte, 1), n*PageSize) {
				t.Errorf("page %d is given away while it is withdrawn", n)
			}
			b.m.arena.punch(n, 1)
			return errDevice
		})
		if !done || !errors.Is(err, errDevice) {
			t.Errorf("page %d: %v, %v", n, done, err)
		}
	}
	if got := b.read(3*PageSize, PageSize); !bytes.Equal(got, fill(PageSize, 7)) {
		t.Error("the withdrawn page lost its bytes")
	}
	if err := tab.store([]byte{1}, 3*PageSize); err != nil {
		t.Fatal(err)
	}
	p := b.pin(5*PageSize, 1, PinRead)
	defer p.Release()
	for _, n := range []int64{3, 5} {
		if done, err := tab.a.Withdraw(n, func() error { return errDevice }); done || err != nil {
			t.Errorf("page %d, mapped writable or pinned, was withdrawn: %v", n, err)
		}
	}
	b.sync()
}

// A run of write faults is granted at once, as far as the pages are ready.
func TestWriteFaultRun(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	tab := b.attach()
	b.read(0, 8*PageSize)
	b.s.refuse[6*PageSize] = true
	var first, count int64
	err := tab.a.WriteFault(2, 16, func(f, c int64) error { first, count = f, c; return nil })
	if err != nil || first != 2 || count != 4 {
		t.Errorf("granted %d pages from %d: %v", count, first, err)
	}
	if err := tab.a.ReadFault(0, 16, func(f, c int64) error { first, count = f, c; return nil }); err != nil || first != 0 || count != 8 {
		t.Errorf("mapped %d pages from %d: %v", count, first, err)
	}
	b.sync()
}

// A change that nobody announced is counted as that, is not taken for the
// page's last word, and cannot get between what is written and what is checked.
func TestUnannouncedChange(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	tab := b.attach()
	b.write(fill(PageSize, 1), 0)
	b.s.setBefore(func(op string, off, n int64) {
		if op == "write" && b.s.count("write") == 1 {
			copy(b.m.arena.mem, fill(PageSize, 2)) // behind everybody's back
		}
	})
	b.sync()
	if got := b.stored(0, PageSize); !bytes.Equal(got, fill(PageSize, 1)) {
		t.Error("what was written changed under way")
	}
	if s := b.c.Stats(); s.Unannounced != 1 || tab.unannounced.Load() != 1 || s.Dirty != PageSize {
		t.Errorf("%+v", s)
	}
	b.sync()
	if got := b.stored(0, PageSize); !bytes.Equal(got, fill(PageSize, 2)) || b.c.Stats().Unannounced != 1 {
		t.Error("the memory's bytes did not reach the backing in the end")
	}
}

// Attach returns only when no write-out is under way from frames that the
// newcomer could change.
func TestAttachWaitsForWriteOuts(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	b.write(fill(PageSize, 1), 0)
	writing, goOn := make(chan struct{}), make(chan struct{})
	b.s.setBefore(func(op string, off, n int64) {
		if op == "write" {
			close(writing)
			<-goOn
		}
	})
	var wg sync.WaitGroup
	wg.Go(b.sync)
	<-writing
	attached := make(chan struct{})
	wg.Go(func() { b.attach(); close(attached) })
	select {
	case <-attached:
		t.Error("attached while a frame is being written")
	case <-time.After(10 * time.Millisecond):
	}
	close(goOn)
	wg.Wait()
}
