package cache

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"holdfast.dev/holdfast/device"
)

var errDevice = errors.New("the test's device fails")

// Ten handles write and sync, the device fails, every handle's next sync fails
// exactly once; healed, every sync succeeds, and nothing written is gone.
// (xfstests generic/441 and its kin; PostgreSQL's fsync of 2018.)
func TestSyncErrorIsToldOnceToEach(t *testing.T) {
	for _, op := range []string{"write", "flush"} {
		t.Run(op, func(t *testing.T) {
			b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
			var hs []*Handle
			for i := range 10 {
				h := b.open()
				hs = append(hs, h)
				if _, err := h.WriteAt(fill(PageSize, byte(i+1)), int64(i)*PageSize); err != nil {
					t.Fatal(err)
				}
				if err := h.Sync(); err != nil {
					t.Fatal(err)
				}
			}
			for i, h := range hs {
				if _, err := h.WriteAt(fill(PageSize, byte(i+101)), int64(i)*PageSize); err != nil {
					t.Fatal(err)
				}
			}
			b.s.fail(op, errDevice)
			b.c.Tick()
			b.c.Tick()
			if op == "flush" {
				_ = b.m.stabilize() // as reclaim does
			}
			for i, h := range hs {
				if err := h.Sync(); !errors.Is(err, errDevice) || !errors.Is(err, ErrWriteOut) {
					t.Errorf("handle %d was told %v", i, err)
				}
			}
			b.s.fail(op, nil)
			late := b.open()
			for i, h := range append(hs, late) {
				if err := h.Sync(); err != nil {
					t.Errorf("handle %d was told again: %v", i, err)
				}
			}
			for i := range hs {
				if got := b.stored(int64(i)*PageSize, PageSize); !bytes.Equal(got, fill(PageSize, byte(i+101))) {
					t.Errorf("page %d did not reach the device", i)
				}
			}
			if s := b.c.Stats(); s.Failed != 0 || s.Dirty != 0 || b.s.outstanding() != 0 {
				t.Errorf("afterwards: %+v, %d reserved", s, b.s.outstanding())
			}
		})
	}
}

// A sync that tried and failed says so even to a handle that has been told of
// the same page before: success would be a lie.
func TestSyncNeverLies(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	b.write(fill(10, 1), 5)
	b.s.fail("write", errDevice)
	for range 3 {
		if err := b.h.Sync(); !errors.Is(err, errDevice) {
			t.Fatalf("sync of a page that cannot be written: %v", err)
		}
	}
	b.s.fail("write", nil)
	b.sync()
	if got := b.stored(5, 10); !bytes.Equal(got, fill(10, 1)) {
		t.Error("the page was not written")
	}
}

// An error that nobody has been told of is told to who opens next.
func TestUntoldErrorReachesALateHandle(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	b.write(fill(PageSize, 1), 0)
	b.s.fail("write", errDevice)
	b.c.writeSome(8)
	b.s.fail("write", nil)
	late := b.open()
	if err := late.Sync(); !errors.Is(err, errDevice) {
		t.Errorf("the late handle was told %v", err)
	}
	if err := late.Sync(); err != nil {
		t.Errorf("and again: %v", err)
	}
	if err := b.h.Sync(); !errors.Is(err, errDevice) {
		t.Errorf("the first handle was told %v", err)
	}
	if err := b.open().Sync(); err != nil {
		t.Errorf("a handle that came after the telling was told %v", err)
	}
}

// A sync that begins while a flush is under way that fails, and shares the next,
// which does not, has not made durable what the first one covered: that is dirty
// again. It says so, even to a handle that was told before that flushes fail.
func TestSyncBehindAFailingFlush(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	other := b.open()
	b.s.fail("flush", errDevice)
	for _, h := range []*Handle{b.h, other} {
		if err := h.Sync(); !errors.Is(err, errDevice) {
			t.Fatal(err)
		}
	}
	b.write(fill(PageSize, 1), 0)
	b.c.writeSome(8)
	flushing, goOn := make(chan struct{}), make(chan struct{})
	begun := sync.OnceFunc(func() { close(flushing); <-goOn })
	b.s.setBefore(func(op string, off, n int64) {
		if op == "flush" {
			begun()
		}
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := other.Sync(); !errors.Is(err, errDevice) {
			t.Errorf("the sync whose flush failed: %v", err)
		}
	})
	<-flushing
	b.s.fail("flush", nil) // from the next one on
	wg.Go(func() {
		if err := b.h.Sync(); err == nil && b.c.Stats().Dirty != 0 {
			t.Error("a sync succeeded, and a page written before it is dirty")
		}
	})
	for !b.m.flushes.Waiting() {
		time.Sleep(time.Millisecond)
	}
	close(goOn)
	wg.Wait()
	b.sync()
	if b.c.Stats().Dirty != 0 {
		t.Error("the page is still dirty")
	}
}

// After a flush that fails, what was written since the last good one is written
// again: a disk that lost its cache has nothing else to get it from. Reclaim
// leaves these pages in memory.
func TestFailedFlushWritesAgain(t *testing.T) {
	b := newBench(t, 2*MinBudget/PageSize, Options{Manual: true}, MappingOptions{})
	b.write(fill(512, 7), 1024) // a page with gaps
	b.write(fill(2*PageSize, 8), 4*PageSize)
	b.c.writeSome(8)
	b.s.fail("flush", errDevice)
	if n := b.c.evict(64); n != 0 {
		t.Fatalf("%d pages left memory before a flush", n)
	}
	if err := b.h.Sync(); !errors.Is(err, errDevice) {
		t.Fatalf("sync: %v", err)
	}
	// The disk forgets.
	if err := b.s.Device.Discard(0, 8*PageSize); err != nil {
		t.Fatal(err)
	}
	b.s.fail("flush", nil)
	b.sync()
	if !bytes.Equal(b.stored(1024, 512), fill(512, 7)) || !bytes.Equal(b.stored(4*PageSize, 2*PageSize), fill(2*PageSize, 8)) {
		t.Error("what the disk forgot was not written again")
	}
	if n := b.c.evict(64); n != 3 {
		t.Errorf("%d pages could leave after a good flush, want 3", n)
	}
}

// If the owner refuses, the writer is told, no byte changes, and other pages go
// on.
func TestOwnerRefuses(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	b.write(fill(3*PageSize, 1), 0)
	b.sync()
	b.s.refuse[PageSize] = true
	n, err := b.h.WriteAt(fill(3*PageSize, 2), 0)
	if n != PageSize || !errors.Is(err, ErrRefused) || !errors.Is(err, errFull) {
		t.Fatalf("wrote %d bytes, %v", n, err)
	}
	want := append(fill(PageSize, 2), fill(2*PageSize, 1)...)
	if got := b.read(0, 3*PageSize); !bytes.Equal(got, want) {
		t.Error("a refused write changed bytes")
	}
	if b.h.TryWriteAt(fill(10, 3), PageSize) > 0 {
		t.Error("TryWriteAt went past the owner")
	}
	b.s.refuse[5*PageSize] = true // a page that is not in memory
	if _, err := b.h.WriteAt(fill(PageSize, 2), 5*PageSize); !errors.Is(err, ErrRefused) {
		t.Errorf("write to an absent page: %v", err)
	}
	b.write(fill(PageSize, 4), 2*PageSize)
	b.sync()
	delete(b.s.refuse, PageSize)
	b.write(fill(10, 5), PageSize)
	b.sync()
	if b.s.outstanding() != 0 || b.c.Stats().Dirty != 0 {
		t.Errorf("%d pages reserved, %+v", b.s.outstanding(), b.c.Stats())
	}
}

// A sync that comes when a dirty page has left memory to be discarded does not say yes
// before the backing has discarded it, and says so if that fails: what the backing has
// is older than what was written before the sync.
func TestSyncMeetsDiscard(t *testing.T) {
	for name, take := range map[string]func(b *bench) error{
		"discard":  func(b *bench) error { return b.h.Discard(0, PageSize) },
		"truncate": func(b *bench) error { return b.m.Truncate(0, WaitPinned) },
	} {
		for _, fails := range []error{nil, errDevice} {
			t.Run(fmt.Sprintf("%s, %v", name, fails), func(t *testing.T) {
				b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
				b.write(fill(PageSize, 1), 0)
				synced := make(chan error, 1)
				b.s.fail("discard", fails)
				b.s.setBefore(func(op string, off, n int64) {
					if op != "discard" {
						return
					}
					go func() { synced <- b.h.Sync() }()
					select {
					case err := <-synced:
						t.Errorf("the sync went past the discard: %v", err)
						synced <- err
					case <-time.After(10 * time.Millisecond):
					}
				})
				if err := take(b); !errors.Is(err, fails) {
					t.Fatal(err)
				}
				if err := <-synced; !errors.Is(err, fails) {
					t.Errorf("the discard: %v; the sync: %v", fails, err)
				}
				b.sync()
			})
		}
	}
}

// What was written of a page waits for a flush though the page was discarded since: the
// sync that wrote it has yet to flush.
func TestDiscardedPageAwaitsFlush(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	b.sync()
	b.write(fill(PageSize, 1), 0)
	if err := b.m.SyncRange(0, PageSize); err != nil {
		t.Fatal(err)
	}
	b.s.setBefore(func(op string, off, n int64) {
		if op == "discard" && !b.m.tags.unstable.any() {
			t.Error("nothing waits for a flush")
		}
	})
	if err := b.h.Discard(0, PageSize); err != nil {
		t.Fatal(err)
	}
}

// A dirty page that is discarded is not written, and its owner is released.
func TestDiscardReleases(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	b.write(fill(4*PageSize, 1), 0)
	b.s.fail("write", errDevice)
	b.c.writeSome(2)
	b.s.fail("write", nil)
	writes := b.s.count("write")
	if err := b.h.Discard(0, 4*PageSize); err != nil {
		t.Fatal(err)
	}
	if n := b.s.outstanding(); n != 0 {
		t.Errorf("%d pages are reserved after a discard", n)
	}
	if err := b.h.Sync(); !errors.Is(err, errDevice) {
		t.Errorf("the error before the discard was not told: %v", err)
	}
	b.sync()
	if b.s.count("write") != writes {
		t.Error("a discarded page was written")
	}
	if s := b.c.Stats(); s.Dirty != 0 || s.Failed != 0 || s.Resident != 0 {
		t.Errorf("%+v", s)
	}
}

// When nothing but pages that cannot be written is dirty, a writer is told why
// instead of waiting for ever; reads go on, and so does he when the device does.
func TestFullOfFailedPages(t *testing.T) {
	const limit = 64
	b := newBench(t, 1024, Options{DirtyLimit: limit * PageSize, Interval: time.Millisecond}, MappingOptions{})
	b.s.fail("write", errDevice)
	var err error
	for i := int64(0); err == nil && i <= 2*limit; i++ {
		_, err = b.h.WriteAt(fill(PageSize, 1), i*PageSize)
	}
	if !errors.Is(err, errDevice) || !errors.Is(err, ErrWriteOut) {
		t.Fatalf("writing above the limit: %v", err)
	}
	if got := b.read(1000*PageSize, 10); got[0] != 0 {
		t.Error("a read went wrong")
	}
	b.s.fail("write", nil)
	if err := b.h.Sync(); !errors.Is(err, errDevice) {
		t.Errorf("sync was told %v", err)
	}
	b.write(fill(PageSize, 1), 500*PageSize)
	b.sync()
}

// Pinned and held pages never become clean, and must not make a writer wait for
// ever for those that cannot be written.
func TestFullOfFailedAndPinnedPages(t *testing.T) {
	const limit = 64
	b := newBench(t, 1024, Options{DirtyLimit: limit * PageSize, Interval: time.Millisecond}, MappingOptions{})
	p := b.pin(0, limit/pinShare*PageSize, PinWrite)
	defer p.Release()
	hd := b.hold()
	defer hd.Release()
	if _, err := hd.WriteAt(fill(limit/holdShare*PageSize, 1), 100*PageSize); err != nil {
		t.Fatal(err)
	}
	b.s.fail("write", errDevice)
	var err error
	for i := int64(200); err == nil && i < 200+2*limit; i++ {
		_, err = b.h.WriteAt(fill(PageSize, 1), i*PageSize)
	}
	if !errors.Is(err, errDevice) {
		t.Fatalf("writing above the limit: %v", err)
	}
}

// A read error is the reader's, and leaves nothing behind.
func TestReadError(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	b.write(fill(100, 1), 10) // edges in a page that is not there
	b.s.fail("read", errDevice)
	if _, err := b.h.ReadAt(make([]byte, PageSize), 3*PageSize); !errors.Is(err, errDevice) {
		t.Errorf("read: %v", err)
	}
	if _, err := b.h.WriteAt(fill(100, 1), 5*PageSize+10); !errors.Is(err, errDevice) {
		t.Errorf("write that needs the rest of its sector: %v", err)
	}
	if s := b.c.Stats(); s.Resident != PageSize {
		t.Errorf("%d bytes are resident after failed reads", s.Resident)
	}
	b.s.fail("read", nil)
	if got := b.read(0, 200); !bytes.Equal(got[10:110], fill(100, 1)) {
		t.Error("the page with gaps lost its bytes")
	}
}

func TestBadOptions(t *testing.T) {
	_, err := New(Options{Budget: 1, DirtyLimit: 5, Background: 10})
	if err == nil || len(err.(interface{ Unwrap() []error }).Unwrap()) != 3 {
		t.Errorf("three faults were reported as: %v", err)
	}
	c, err := New(Options{Budget: MinBudget, Manual: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Abandon()
	if _, err := c.Map(struct{ Backing }{&store{Device: device.NewMem(PageSize + 512)}}, MappingOptions{}); err == nil {
		t.Error("a size that is not whole pages was taken")
	}
	if _, err := c.Map(newStore(1), MappingOptions{Stability: "hope"}); err == nil {
		t.Error("an unknown stability policy was taken")
	}
}
