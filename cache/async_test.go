package cache

import (
	"bytes"
	"errors"
	"testing"

	"holdfast.dev/holdfast/device"
)

// silent is a mapping whose pages 0 to 63 an address space has mapped that
// announces nothing.
func silent(t *testing.T) (*bench, *table) {
	t.Helper()
	b := newBench(t, 1024, Options{Manual: true}, MappingOptions{})
	tab := b.attachAs(true)
	b.read(0, 64*PageSize)
	for n := int64(0); n < 64; n += 4 {
		if err := tab.load(make([]byte, 1), n*PageSize); err != nil {
			t.Fatal(err)
		}
	}
	return b, tab
}

// touched stores a page of v to page n, which is mapped: nobody hears of it.
func (t *table) touched(n int64, v byte) {
	t.b.t.Helper()
	if !t.touch(fill(PageSize, v), n*PageSize) {
		t.b.t.Fatalf("page %d is not mapped", n)
	}
}

func (b *bench) expectStored(n int64, v byte) {
	b.t.Helper()
	if got := b.stored(n*PageSize, PageSize); !bytes.Equal(got, fill(PageSize, v)) {
		b.t.Fatalf("page %d: the backing has %d, want %d", n, got[0], v)
	}
}

// Whoever asks what is dirty is told of stores that nobody announced.
func TestSilentStores(t *testing.T) {
	for name, ask := range map[string]func(b *bench) bool{
		"Sync": func(b *bench) bool { b.sync(); return b.stored(7*PageSize, PageSize)[0] == 9 },
		"SyncRange": func(b *bench) bool {
			return b.m.SyncRange(7*PageSize, 1) == nil && b.stored(7*PageSize, PageSize)[0] == 9
		},
		"Quiet": func(b *bench) bool { return !b.m.Quiet(7*PageSize, 1) },
		"Tick":  func(b *bench) bool { b.c.Tick(); return b.c.Stats().Dirty == PageSize },
		"Extents": func(b *bench) (data bool) {
			err := b.h.Extents(7*PageSize, PageSize, func(e device.Extent) bool { data = data || !e.Hole; return true })
			return data && err == nil
		},
		"Close": func(b *bench) bool {
			_ = b.m.attachments()[0].Close()
			return b.c.Stats().Dirty == PageSize
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, tab := silent(t)
			tab.touched(7, 9)
			if b.c.Stats().Dirty != 0 {
				t.Fatal("it was announced")
			}
			if !ask(b) {
				t.Error("not told")
			}
			b.sync()
			b.expectStored(7, 9)
			if !b.m.Quiet(0, b.m.Size()) || b.s.outstanding() != 0 {
				t.Error("pages stay dirty")
			}
		})
	}
}

// A store while its page is being written out is not lost: neither one before the
// copy is made, nor one after it.
func TestSilentStoreUnderWriteOut(t *testing.T) {
	b, tab := silent(t)
	tab.touched(7, 1)
	b.s.setBefore(func(op string, off, n int64) {
		if op == "write" && b.s.count("write") == 1 {
			tab.touched(7, 2)
		}
	})
	b.sync()
	b.expectStored(7, 1)
	b.sync()
	b.expectStored(7, 2)
	if s := b.c.Stats(); s.Unannounced != 0 || s.Dirty != 0 {
		t.Errorf("%+v", s)
	}
}

// What is written out is not found once more.
func TestSilentStoreWrittenOnce(t *testing.T) {
	b, tab := silent(t)
	if err := tab.store(fill(PageSize, 1), 200*PageSize); err != nil {
		t.Fatal(err)
	}
	b.c.writeSome(64)
	b.expectStored(200, 1)
	b.m.findStored(0, b.m.arenaPages())
	if dirty := b.c.Stats().Dirty; dirty != 0 {
		t.Errorf("%d bytes are dirty", dirty)
	}
}

// A page that is about to leave memory stays if it was stored to, up to the very
// moment of the hole punch.
func TestSilentStoreUnderEviction(t *testing.T) {
	b, tab := silent(t)
	tab.touched(7, 1)
	tab.beforeUnmap = func(first, count int64) {
		if first <= 9 && 9 < first+count && !b.m.tags.dirty.has(9) {
			tab.touched(9, 2)
		}
	}
	collected := false
	tab.afterCollect = func() {
		if !collected {
			collected = true
			tab.touched(11, 3)
		}
	}
	if freed := b.c.evict(64); freed == 0 || b.c.Stats().Evicted != freed {
		t.Fatalf("%d pages are said to have been freed, %d were", freed, b.c.Stats().Evicted)
	}
	tab.beforeUnmap = nil
	if dirty := b.c.Stats().Dirty; dirty != 3*PageSize {
		t.Errorf("%d bytes are dirty", dirty)
	}
	if pg := b.m.page(8); pg.load().has(present | amapped) {
		t.Errorf("page 8 is still there: %v", pg.load())
	}
	for n, v := range map[int64]byte{7: 1, 9: 2, 11: 3} {
		if got := b.read(n*PageSize, PageSize); !bytes.Equal(got, fill(PageSize, v)) {
			t.Errorf("page %d holds %d", n, got[0])
		}
		b.sync()
		b.expectStored(n, v)
	}
	// What stayed can be evicted once it is clean.
	for b.c.evict(64) > 0 {
	}
	if b.c.Stats().Resident != 0 {
		t.Errorf("%d bytes stay in memory", b.c.Stats().Resident)
	}
}

// A sync that comes while an eviction knows of a store waits for it.
func TestSyncMeetsEviction(t *testing.T) {
	b, tab := silent(t)
	tab.touched(7, 1)
	synced := make(chan error, 1)
	tab.beforeUnmap = func(first, count int64) {
		tab.beforeUnmap = nil
		tab.touched(40, 3)
		go func() { synced <- b.h.Sync() }()
		// The sync has collected when nothing is left to collect.
		for tab.isStored(40) {
		}
	}
	b.c.evict(64)
	if err := <-synced; err != nil {
		t.Fatal(err)
	}
	b.expectStored(7, 1)
}

func (t *table) isStored(n int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stored[n]
}

// A page that was stored to and lost by its page table is dirty by the time it is
// mapped again.
func TestSilentStoreSwappedOut(t *testing.T) {
	for _, fault := range []string{"load", "store"} {
		b, tab := silent(t)
		tab.touched(7, 1)
		tab.touched(9, 2)
		tab.Unmap(7, 3)
		var err error
		if fault == "load" {
			err = tab.load(make([]byte, 1), 7*PageSize)
		} else {
			err = tab.store(fill(1, 1), 7*PageSize)
		}
		if dirty := b.c.Stats().Dirty; err != nil || dirty != 2*PageSize {
			t.Errorf("%s: %d bytes are dirty: %v", fault, dirty, err)
		}
		b.sync()
		b.expectStored(7, 1)
		b.expectStored(9, 2)
	}
}

// When nobody can say any more what was stored, everything was that may have been,
// and nothing that was never mapped.
func TestSilentStoresOfTheDead(t *testing.T) {
	b, tab := silent(t)
	b.read(100*PageSize, PageSize)
	tab.touched(7, 1)
	tab.stored, tab.dead = nil, true
	if err := tab.a.Close(); err != nil {
		t.Fatal(err)
	}
	if dirty := b.c.Stats().Dirty; dirty != 64*PageSize {
		t.Errorf("%d bytes are dirty", dirty)
	}
	b.sync()
	b.expectStored(7, 1)
}

// Revoke ends all access, keeps the pages, and knows of every store until then.
func TestRevoke(t *testing.T) {
	b, tab := silent(t)
	p := b.pin(20*PageSize, 1, PinRead)
	defer p.Release()
	tab.touched(7, 1)
	tab.touched(8, 2)
	tab.beforeUnmap = func(first, count int64) {
		if first <= 9 && 9 < first+count {
			tab.touched(9, 3)
		}
	}
	tab.a.Revoke(0, 64)
	tab.touched(20, 0)
	tab.beforeUnmap = nil
	tab.a.Revoke(20, 1)
	if len(tab.access) != 1 || tab.access[20] == 0 {
		t.Errorf("still mapped: %v", tab.access)
	}
	s := b.c.Stats()
	if s.Dirty != 4*PageSize || s.Resident < 64*PageSize || s.Evicted != 0 {
		t.Errorf("%+v", s)
	}
	b.sync()
	for n, v := range map[int64]byte{7: 1, 8: 2, 9: 3, 10: 0} {
		b.expectStored(n, v)
	}
}

// Where anybody may refuse a store they have to be announced.
func TestNotAsync(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	b.s.refuse[0] = true
	if _, err := b.m.AttachAsync(&table{b: b}); !errors.Is(err, ErrNotAsync) {
		t.Errorf("an owner who may refuse: %v", err)
	}
	delete(b.s.refuse, 0)
	hd := b.hold()
	if _, err := hd.WriteAt([]byte{1}, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := b.m.AttachAsync(&table{b: b}); !errors.Is(err, ErrNotAsync) {
		t.Errorf("with held pages: %v", err)
	}
	hd.Release()
	tab := b.attachAs(true)
	hd = b.hold()
	if _, err := hd.WriteAt([]byte{1}, PageSize); !errors.Is(err, ErrAsync) {
		t.Errorf("holding what is mapped: %v", err)
	}
	hd.Release()
	if err := tab.store([]byte{1}, 0); err != nil {
		t.Fatal(err)
	}
	if done, err := tab.a.Withdraw(0, func() error { return errDevice }); done || err != nil {
		t.Errorf("a page that may be stored to was withdrawn: %v", err)
	}
	if err := tab.a.Close(); err != nil {
		t.Fatal(err)
	}
	hd = b.hold()
	if _, err := hd.WriteAt([]byte{1}, PageSize); err != nil {
		t.Error(err)
	}
	hd.Release()
	b.sync()
}
