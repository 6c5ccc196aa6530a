package cache

import (
	"sync"
	"testing"
	"time"
)

// Pages that are used again stay when a scan four times the budget passes.
func TestScanLeavesHotPages(t *testing.T) {
	const budget = MinBudget / PageSize
	b := newBench(t, 5*budget, Options{Manual: true}, MappingOptions{})
	hot := int64(budget / 4)
	for range 3 {
		b.read(0, hot*PageSize)
	}
	for n := hot; n < 5*budget; n++ {
		b.read(n*PageSize, PageSize)
	}
	stayed := int64(0)
	for n := range hot {
		if b.h.TryReadAt(make([]byte, 1), n*PageSize) {
			stayed++
		}
	}
	if stayed < hot*9/10 {
		t.Errorf("%d of %d hot pages outlived a scan", stayed, hot)
	}
}

// Memory follows what is cached: leaves go with their pages, entries of pages
// that were discarded do not pile up.
func TestMemoryFollowsWhatIsCached(t *testing.T) {
	const pages = 64 * leafPages
	b := newBench(t, pages, Options{Manual: true}, MappingOptions{})
	for n := int64(0); n < pages; n += 16 {
		b.write(fill(PageSize, 1), n*PageSize)
		if err := b.h.Discard(n*PageSize, PageSize); err != nil {
			t.Fatal(err)
		}
		b.read(n*PageSize, PageSize)
		b.c.Tick()
	}
	if got, limit := b.c.queues.len(), 2*MinBudget/PageSize+16; got > limit {
		t.Errorf("%d entries in the queues, want at most %d", got, limit)
	}
	for b.c.evict(64) > 0 {
	}
	for n := int64(0); n < pages; n += leafPages {
		if b.m.leaves.at(n) != nil {
			t.Errorf("the leaf of page %d outlived its pages", n)
		}
	}
	if s := b.c.Stats(); s.Resident != 0 {
		t.Errorf("%d bytes are resident", s.Resident)
	}
}

// Leaves come and go under tasks that use them.
func TestLeafRaces(t *testing.T) {
	b := newBench(t, 4*leafPages, Options{Manual: true}, MappingOptions{})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for id := range int64(3) {
		wg.Go(func() {
			for i := byte(1); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				off := id * PageSize * 7 // in one leaf
				if _, err := b.h.WriteAt(fill(512, i), off); err != nil {
					t.Error(err)
				}
				if p := b.read(off, 512); p[0] != i {
					t.Errorf("page %d: read %d after writing %d", off/PageSize, p[0], i)
				}
				if err := b.h.SyncRange(off, 512); err != nil {
					t.Error(err)
				}
				b.c.evict(1)
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	close(stop)
	wg.Wait()
}

// Truncate leaves nothing behind that brings old bytes back.
func TestTruncate(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	b.write(fill(64*PageSize, 1), 0)
	b.sync()
	b.write(fill(10*PageSize, 2), 40*PageSize)
	if err := b.m.Truncate(42*PageSize, RefusePinned); err != nil {
		t.Fatal(err)
	}
	if _, err := b.h.ReadAt(make([]byte, 1), 42*PageSize); err == nil {
		t.Error("a read beyond the end succeeded")
	}
	if _, err := b.h.WriteAt(make([]byte, 2), 42*PageSize-1); err == nil {
		t.Error("a write across the end succeeded")
	}
	if err := b.m.Truncate(64*PageSize, RefusePinned); err != nil {
		t.Fatal(err)
	}
	if got := b.read(41*PageSize, 23*PageSize); got[0] != 2 || got[PageSize] != 0 || got[23*PageSize-1] != 0 {
		t.Error("old bytes came back, or the tail was touched")
	}
	b.sync()
	if b.s.outstanding() != 0 {
		t.Errorf("%d pages are reserved", b.s.outstanding())
	}
	if b.m.Truncate(65*PageSize, WaitPinned) == nil || b.m.Truncate(100, WaitPinned) == nil || b.m.Truncate(-PageSize, WaitPinned) == nil {
		t.Error("an impossible size was accepted")
	}
}

func BenchmarkTryRead(b *testing.B) {
	c, _ := New(Options{Manual: true, Budget: 64 << 20})
	defer c.Abandon()
	m, _ := c.Map(newStore(8192), MappingOptions{Name: "bench"})
	h, _ := m.Open()
	p := make([]byte, PageSize)
	for n := range int64(8192) {
		_, _ = h.ReadAt(p, n*PageSize)
	}
	b.SetBytes(PageSize)
	b.ReportAllocs()
	n := int64(0)
	for b.Loop() {
		n = (n*1664525 + 1013904223) % 8192
		if !h.TryReadAt(p, n*PageSize) {
			_, _ = h.ReadAt(p, n*PageSize)
		}
	}
}

func BenchmarkTryWrite(b *testing.B) {
	c, _ := New(Options{Manual: true, Budget: 64 << 20, DirtyLimit: 48 << 20})
	defer c.Abandon()
	m, _ := c.Map(newStore(8192), MappingOptions{Name: "bench"})
	h, _ := m.Open()
	p := make([]byte, PageSize)
	for n := range int64(8192) {
		_, _ = h.WriteAt(p, n*PageSize)
	}
	b.SetBytes(PageSize)
	b.ReportAllocs()
	n := int64(0)
	for b.Loop() {
		n = (n*1664525 + 1013904223) % 8192
		if h.TryWriteAt(p, n*PageSize) < len(p) {
			b.Fatal("a cached write would wait")
		}
	}
}
