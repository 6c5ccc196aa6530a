package cache

import (
	"bytes"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast.dev/holdfast/device"
)

// A partial write to a page that is not there reads nothing; its write-out
// writes what is known; the rest is read when somebody wants it.
func TestGaps(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	if _, err := b.s.Device.WriteAt(fill(PageSize, 9), 0); err != nil {
		t.Fatal(err)
	}
	b.write(fill(512, 1), 512)
	b.write(fill(1024, 2), 2048)
	if n := b.s.count("read"); n != 0 {
		t.Fatalf("%d reads for writes of whole sectors", n)
	}
	type call struct{ off, n int64 }
	var writes []call
	b.s.setBefore(func(op string, off, n int64) {
		if op == "write" {
			writes = append(writes, call{off, n})
		}
	})
	b.sync()
	if len(writes) != 2 || writes[0] != (call{512, 512}) || writes[1] != (call{2048, 1024}) {
		t.Errorf("the write-out wrote %v", writes)
	}
	want := fill(PageSize, 9)
	copy(want[512:], fill(512, 1))
	copy(want[2048:], fill(1024, 2))
	if !bytes.Equal(b.read(512, 512), want[512:1024]) || b.s.count("read") != 0 {
		t.Error("a read of known sectors went to the backing")
	}
	if !bytes.Equal(b.read(0, PageSize), want) || b.s.count("read") != 1 {
		t.Error("the rest was not read, or not once")
	}
}

// Neighbours are written together, in ascending order, up to the longest run.
func TestRunsAreCoalesced(t *testing.T) {
	b := newBench(t, 4*MinBudget/PageSize, Options{Manual: true, Budget: 8 * MinBudget}, MappingOptions{})
	for _, n := range []int64{9, 7, 8, 3, 400, 401} {
		b.write(fill(PageSize, byte(n)), n*PageSize)
	}
	var offs []int64
	b.s.setBefore(func(op string, off, n int64) {
		if op == "write" {
			offs = append(offs, off/PageSize, n/PageSize)
		}
	})
	b.sync()
	want := []int64{3, 1, 7, 3, 400, 2}
	if len(offs) != len(want) {
		t.Fatalf("writes (page, count): %v, want %v", offs, want)
	}
	for i := range want {
		if offs[i] != want[i] {
			t.Fatalf("writes (page, count): %v, want %v", offs, want)
		}
	}
	offs = nil
	b.write(fill(600*PageSize, 1), 0)
	b.sync()
	if len(offs) != 6 || offs[1] != runPages {
		t.Errorf("600 pages were written as (page, count) %v", offs)
	}
}

// A sync that comes while another task has claimed the page and not yet written
// it waits for that task (2004: fdatasync failed to wait on some pages).
func TestSyncWaitsForAnothersClaim(t *testing.T) {
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
	wg.Go(func() { b.c.writeSome(8) })
	<-writing
	synced := make(chan struct{})
	wg.Go(func() { b.sync(); close(synced) })
	select {
	case <-synced:
		t.Error("the sync returned while the page was still being written")
	case <-time.After(20 * time.Millisecond):
	}
	close(goOn)
	wg.Wait()
	if !bytes.Equal(b.stored(0, PageSize), fill(PageSize, 1)) {
		t.Error("the page was not written")
	}
}

// A sync ends although there is always another dirty page ahead of it: it writes
// what was dirty when it began.
func TestSyncIsFinite(t *testing.T) {
	const pages = 64
	b := newBench(t, pages, Options{Manual: true}, MappingOptions{})
	b.write(fill(PageSize, 1), 0)
	b.s.setBefore(func(op string, off, n int64) {
		if next := off + 2*PageSize; op == "write" && next < pages*PageSize {
			b.write(fill(PageSize, 2), next)
		}
	})
	b.sync()
	if n := b.s.count("write"); n != 1 {
		t.Errorf("the sync wrote %d times, one page was dirty when it began", n)
	}
}

// Under the policy copy a writer does not wait for a write-out, the bytes that
// are being written stay as they are, readers see the new ones, and those are
// written after the original. Under wait he waits.
func TestStability(t *testing.T) {
	for _, st := range []Stability{StabilityWait, StabilityCopy} {
		t.Run(string(st), func(t *testing.T) {
			b := newBench(t, 64, Options{Manual: true}, MappingOptions{Stability: st})
			b.write(fill(PageSize, 1), 0)
			writing, goOn := make(chan struct{}), make(chan struct{})
			var once sync.Once
			b.s.setBefore(func(op string, off, n int64) {
				if op == "write" {
					once.Do(func() { close(writing); <-goOn })
				}
			})
			var wg sync.WaitGroup
			wg.Go(func() { b.c.writeSome(8) })
			<-writing
			if got := b.h.TryWriteAt(fill(100, 2), 50); (got == 100) != (st == StabilityCopy) {
				t.Errorf("TryWriteAt to a page under write-out: %d", got)
			}
			if st == StabilityCopy {
				b.write(fill(100, 3), 250) // into the same shadow
				if s := b.c.Stats(); s.Shadows != 1 || s.Resident != 2*PageSize {
					t.Errorf("%d shadows were made, %d bytes are resident", s.Shadows, s.Resident)
				}
				if got := b.read(0, 400); got[60] != 2 || got[260] != 3 || got[399] != 1 {
					t.Error("a reader does not see what was written during write-out")
				}
				if frame := b.m.arena.frames(0, 1); !bytes.Equal(frame, fill(PageSize, 1)) {
					t.Error("the frame changed under write-out")
				}
			} else {
				wg.Go(func() { b.write(fill(100, 2), 50) })
			}
			close(goOn)
			wg.Wait()
			b.sync()
			if got := b.stored(0, 400); got[60] != 2 || got[40] != 1 {
				t.Error("what was written during write-out was lost")
			}
			if s := b.c.Stats(); s.Resident != PageSize {
				t.Errorf("%d bytes are resident, the shadow was not given back", s.Resident)
			}
		})
	}
}

// The flusher writes what is old without being asked, leaves a memory-backed
// mapping alone, and does not count it.
func TestFlusherAndMemoryBacked(t *testing.T) {
	for _, memory := range []bool{false, true} {
		b := newBench(t, 1024, Options{Manual: true, DirtyLimit: 64 * PageSize}, MappingOptions{MemoryBacked: memory})
		n := int64(32)
		if memory {
			n = 100 // above the limit: it is not counted
		}
		b.write(fill(int(n)*PageSize, 1), 0)
		if d := b.c.Stats().Dirty; (d == 0) != memory {
			t.Errorf("memory backed %v: %d bytes count as dirty", memory, d)
		}
		b.c.Tick()
		b.c.Tick()
		if wrote := b.s.count("write") > 0; wrote == memory {
			t.Errorf("memory backed %v: the flusher wrote: %v", memory, wrote)
		}
		b.sync()
		if !bytes.Equal(b.stored(0, n*PageSize), fill(int(n)*PageSize, 1)) {
			t.Error("the sync did not write")
		}
	}
}

// A writer above the dirty limit is slowed, not failed, and the limit holds.
func TestThrottle(t *testing.T) {
	const limit = 32
	b := newBench(t, 2048, Options{DirtyLimit: limit * PageSize, Interval: time.Millisecond}, MappingOptions{})
	var most atomic.Int64
	b.s.setBefore(func(op string, off, n int64) {
		if d := b.s.dirtyPages(); d > most.Load() {
			most.Store(d)
		}
	})
	for n := range int64(2048) {
		b.write(fill(PageSize, 1), n*PageSize)
	}
	if b.c.Stats().Throttled == 0 {
		t.Error("nobody was throttled")
	}
	b.s.setBefore(nil)
	if most.Load() > limit {
		t.Errorf("%d pages were dirty, the limit is %d", most.Load(), limit)
	}
	b.sync()
}

func (s *store) dirtyPages() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.reserved))
}

// A flush is not asked of a backing that has nothing to flush, and always of
// one whose past is unknown.
func TestFlushOnlyWhatNeedsIt(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	steps := []struct {
		do   func()
		want int
	}{
		{func() {}, 1},
		{func() {}, 0},
		{func() { b.write(fill(1, 1), 0) }, 1},
		{func() { b.read(0, 100) }, 0},
		{func() { _ = b.h.Discard(0, PageSize) }, 1},
		{func() { b.write(fill(1, 1), 0); b.c.writeSome(1) }, 1},
	}
	for i, s := range steps {
		before := b.s.count("flush")
		s.do()
		b.sync()
		if got := b.s.count("flush") - before; got != s.want {
			t.Errorf("step %d: %d flushes, want %d", i, got, s.want)
		}
	}
}

// A sync that comes while another's flush is under way, for something that is no
// page's, waits for a flush too: the one under way may yet fail.
func TestSyncWaitsForFlushOfADiscard(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	b.sync()
	if err := b.h.Discard(0, PageSize); err != nil {
		t.Fatal(err)
	}
	flushing, goOn := make(chan struct{}), make(chan struct{})
	begun := sync.OnceFunc(func() { close(flushing) })
	b.s.setBefore(func(op string, off, n int64) {
		if op == "flush" {
			begun()
			<-goOn
		}
	})
	var wg sync.WaitGroup
	wg.Go(b.sync)
	<-flushing
	synced := make(chan struct{})
	wg.Go(func() { b.sync(); close(synced) })
	select {
	case <-synced:
		t.Error("a sync returned before the discard was durable")
	case <-time.After(20 * time.Millisecond):
	}
	close(goOn)
	wg.Wait()
}

func TestExtents(t *testing.T) {
	b := newBench(t, 1024, Options{Manual: true}, MappingOptions{})
	if _, err := b.s.Device.WriteAt(fill(1<<20, 1), 1<<20); err != nil {
		t.Fatal(err)
	}
	b.write(fill(10, 1), 5*PageSize)
	b.write(fill(2*PageSize, 1), 3<<20)
	list := func() (e []device.Extent) {
		if err := b.h.Extents(0, b.h.Size(), func(x device.Extent) bool { e = append(e, x); return true }); err != nil {
			t.Fatal(err)
		}
		return e
	}
	for range 2 {
		at := int64(0)
		data := map[int64]bool{}
		for _, e := range list() {
			if e.Off != at || e.Len <= 0 {
				t.Fatalf("extents have gaps: %v", list())
			}
			at += e.Len
			for p := e.Off; p < at && !e.Hole; p += PageSize {
				data[p/PageSize] = true
			}
		}
		for _, p := range []int64{5, 256, 511, 768, 769} {
			if !data[p] {
				t.Errorf("page %d is reported as a hole", p)
			}
		}
		if at != b.h.Size() || data[200] || data[700] {
			t.Errorf("holes are reported as data, or not all was: %v", list())
		}
		b.sync()
	}
}
