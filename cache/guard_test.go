package cache

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/guard"
)

// flip changes one bit of page n's frame, as memory does that goes bad.
func (b *bench) flip(n int64, at int) { b.m.arena.frames(n, 1)[at] ^= 0x10 }

// guardsFit fails the test unless every page that has a guard fits it, and
// returns how many have one.
func (b *bench) guardsFit() (guards int) {
	b.t.Helper()
	for pg, ok := b.m.nextPresent(0, b.m.arenaPages()); ok; pg, ok = b.m.nextPresent(pg.n+1, b.m.arenaPages()) {
		pg.lock()
		if w := pg.load(); w.has(guarded) {
			guards++
			if guard.Sum(b.m.contents(pg.n, w)) != *pg.sum() {
				b.t.Errorf("page %d does not fit its guard: %v (seed %d)", pg.n, w, *seedFlag)
			}
		}
		pg.unlock(0, 0)
	}
	return guards
}

// A bit that flips in memory after copy-in is found when the page is written out,
// however the page came to its bytes: the page is not written, its neighbours are,
// and nobody reads it until it is overwritten whole or discarded.
func TestFlipIsFoundAtWriteOut(t *testing.T) {
	const n = 5
	old := fill(PageSize, 9)
	for name, prepare := range map[string]func(b *bench){
		"written": func(b *bench) {
			b.write(fill(PageSize, 1), n*PageSize)
			b.flip(n, 700)
		},
		"written in parts": func(b *bench) {
			for a := 0; a < PageSize; a += 1024 {
				b.write(fill(1024, 1), n*PageSize+int64(a))
			}
			b.flip(n, 4000)
		},
		"clean, then written in part": func(b *bench) {
			b.read(n*PageSize, 1)
			b.flip(n, 100)
			b.write(fill(512, 1), n*PageSize+1024)
		},
		"written in part, then clean, then written in part": func(b *bench) {
			b.write(fill(100, 9), n*PageSize+30)
			b.sync()
			b.flip(n, 4095)
			b.write(fill(7, 1), n*PageSize)
		},
		"flipped where it was written since": func(b *bench) {
			b.write(fill(100, 1), n*PageSize+1024)
			b.flip(n, 1030)
			b.write(fill(100, 1), n*PageSize+1000)
		},
		"completed": func(b *bench) {
			b.write(fill(512, 1), n*PageSize) // whole sectors of an absent page
			b.read(n*PageSize, PageSize)      // the rest is read
			b.flip(n, 3000)
		},
		"pinned once": func(b *bench) {
			p := b.pin(n*PageSize, PageSize, PinWrite)
			copy(p.Bytes(), old)
			p.Release()
			b.sync()
			b.flip(n, 1)
			b.write(fill(7, 1), n*PageSize+9)
		},
		"zeroed under a pin": func(b *bench) {
			p := b.pin(n*PageSize, PageSize, PinRead)
			defer p.Release()
			if err := b.h.Discard(n*PageSize, PageSize); err != nil {
				b.t.Fatal(err)
			}
			if _, err := b.s.Device.WriteAt(old, n*PageSize); err != nil {
				b.t.Fatal(err)
			}
			b.flip(n, 77)
		},
		"held": func(b *bench) {
			hd := b.hold()
			if _, err := hd.WriteAt(fill(PageSize, 1), n*PageSize); err != nil {
				b.t.Fatal(err)
			}
			b.flip(n, 77)
			hd.Release()
		},
		"in a shadow": func(b *bench) {
			b.write(old, n*PageSize)
			writing := sync.OnceFunc(func() {
				if b.h.TryWriteAt(fill(512, 1), n*PageSize) != 512 {
					b.t.Error("the page got no shadow")
				}
				b.m.shadows.get(n)[3000] ^= 1
			})
			b.s.setBefore(func(op string, off, _ int64) {
				if op == "write" {
					writing()
				}
			})
			b.c.writeSome(16)
			b.s.setBefore(nil)
		},
	} {
		for _, cure := range []string{"overwrite", "discard"} {
			t.Run(name+", "+cure, func(t *testing.T) {
				b := newBench(t, 64, Options{Manual: true}, MappingOptions{Stability: StabilityCopy})
				for i := range int64(16) {
					if _, err := b.s.Device.WriteAt(old, i*PageSize); err != nil {
						t.Fatal(err)
					}
				}
				prepare(b)
				b.write(fill(2*PageSize, 2), (n-2)*PageSize)
				b.write(fill(2*PageSize, 3), (n+1)*PageSize)
				b.checkDamaged(n, old)
				b.cure(n, cure)
			})
		}
	}
}

// checkDamaged syncs, and sees that page n is found to be damaged and the pages
// beside it are written.
func (b *bench) checkDamaged(n int64, old []byte) {
	t := b.t
	t.Helper()
	for range 2 {
		if err := b.h.Sync(); !errors.Is(err, device.ErrGuard) || !errors.Is(err, ErrWriteOut) {
			t.Fatalf("sync of a page that changed in memory: %v", err)
		}
	}
	if got := b.stored(n*PageSize, PageSize); !bytes.Equal(got, old) {
		t.Error("the damaged page was written")
	}
	if got := b.stored((n-2)*PageSize, 5*PageSize); got[0] != 2 || got[2*PageSize-1] != 2 || got[3*PageSize] != 3 || got[5*PageSize-1] != 3 {
		t.Error("its neighbours were not")
	}
	if s := b.c.Stats(); s.Damaged != 1 || s.Failed != PageSize || s.Dirty != PageSize {
		t.Errorf("%+v", s)
	}
	p := make([]byte, 100)
	_, rerr := b.h.ReadAt(p, n*PageSize+50)
	_, werr := b.h.WriteAt(p, n*PageSize+50)
	_, perr := b.h.Pin(n*PageSize, 1, PinRead)
	for what, err := range map[string]error{"read": rerr, "write of a part": werr, "pin": perr} {
		if !errors.Is(err, device.ErrGuard) {
			t.Errorf("%s of a damaged page: %v", what, err)
		}
	}
	if b.h.TryReadAt(p, n*PageSize) || b.h.TryWriteAt(p, n*PageSize) > 0 {
		t.Error("a try got at a damaged page")
	}
	if n := b.c.evict(64); n > 15 {
		t.Errorf("%d pages left memory, the damaged one too", n)
	}
}

func (b *bench) cure(n int64, how string) {
	t := b.t
	t.Helper()
	want := fill(PageSize, 7)
	if how == "discard" {
		clear(want)
		if err := b.h.Discard(n*PageSize, PageSize); err != nil {
			t.Fatal(err)
		}
	} else {
		b.write(want, n*PageSize)
	}
	if !bytes.Equal(b.read(n*PageSize, PageSize), want) {
		t.Error("the cured page has something else")
	}
	b.sync()
	if !bytes.Equal(b.stored(n*PageSize, PageSize), want) {
		t.Error("the cured page was not written")
	}
	if s := b.c.Stats(); s.Failed != 0 || s.Dirty != 0 || b.s.outstanding() != 0 {
		t.Errorf("%+v", s)
	}
	b.guardsFit()
}

// Memory that comes to its senses makes the page sound again.
func TestFlipBack(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	b.write(fill(PageSize, 1), 0)
	b.flip(0, 8)
	if err := b.h.Sync(); !errors.Is(err, device.ErrGuard) {
		t.Fatal(err)
	}
	b.flip(0, 8)
	b.sync()
	if !bytes.Equal(b.read(0, PageSize), fill(PageSize, 1)) || !bytes.Equal(b.stored(0, PageSize), fill(PageSize, 1)) {
		t.Error("the page is not what was written")
	}
}

// A discard cures a page that is pinned, too: it stays, and is zeros.
func TestDamagedUnderAPin(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	b.write(fill(PageSize, 1), 0)
	p := b.pin(0, PageSize, PinRead)
	defer p.Release()
	b.flip(0, 8)
	if err := b.h.Sync(); !errors.Is(err, device.ErrGuard) {
		t.Fatal(err)
	}
	if err := b.h.Discard(0, PageSize); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.read(0, PageSize), zeros[:]) {
		t.Error("the page is not zeros")
	}
	b.sync()
}

// That a page is damaged is told although it was told before that the page could
// not be written.
func TestFlipInAFailedPage(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	b.write(fill(PageSize, 1), 0)
	b.s.fail("write", errDevice)
	if err := b.h.Sync(); !errors.Is(err, errDevice) {
		t.Fatal(err)
	}
	b.s.fail("write", nil)
	b.flip(0, 8)
	if err := b.h.Sync(); !errors.Is(err, device.ErrGuard) {
		t.Errorf("sync: %v", err)
	}
	if s := b.c.Stats(); s.Damaged != 1 || s.Failed != PageSize || b.c.failing.Load() != 1 {
		t.Errorf("%+v", s)
	}
}

// A snapshot that changes is found too. The page itself is sound, and is written
// from another.
func TestFlipInASnapshot(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	p := b.pin(0, PageSize, PinWrite)
	defer p.Release()
	copy(p.Bytes(), fill(PageSize, 1))
	b.write(fill(3*PageSize, 2), PageSize)
	b.m.tags.dirty.set(0) // so that the run begins with the pinned page
	r := b.m.collect(b.m.tags.dirty, 0, 64, walk{})
	if r.count != 4 || r.copied == nil {
		t.Fatalf("a run of %d pages, %v", r.count, r.copied)
	}
	r.copied.mem[2*PageSize+5] ^= 1
	r.copied.mem[5] ^= 1
	r.finish()
	if got := b.stored(0, 4*PageSize); got[0] != 0 || got[PageSize] != 2 || got[2*PageSize] != 0 || got[3*PageSize] != 2 {
		t.Errorf("first bytes of the pages: %d %d %d %d", got[0], got[PageSize], got[2*PageSize], got[3*PageSize])
	}
	if s := b.c.Stats(); s.Damaged != 0 || s.Failed != 2*PageSize {
		t.Errorf("%+v", s)
	}
	if got := b.read(2*PageSize, 1); got[0] != 2 {
		t.Error("the page reads wrong")
	}
	if err := b.h.Sync(); !errors.Is(err, device.ErrGuard) {
		t.Errorf("the failure was not told: %v", err)
	}
	b.sync()
	if got := b.stored(0, 4*PageSize); !bytes.Equal(got, append(fill(PageSize, 1), fill(3*PageSize, 2)...)) {
		t.Error("the pages did not reach the backing")
	}
}

// A page that is overwritten whole while the damaged one is being refused is not
// taken for damaged, and is written.
func TestOverwrittenWhileRefused(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{Stability: StabilityCopy})
	b.write(fill(PageSize, 1), 0)
	b.flip(0, 9)
	r := b.m.collect(b.m.tags.dirty, 0, 64, walk{})
	b.write(fill(PageSize, 2), 0) // into a shadow
	r.finish()
	if got := b.read(0, PageSize); !bytes.Equal(got, fill(PageSize, 2)) || b.c.Stats().Damaged != 0 {
		t.Errorf("%+v", b.c.Stats())
	}
	if err := b.h.Sync(); !errors.Is(err, device.ErrGuard) {
		t.Errorf("the failure was not told: %v", err)
	}
	b.sync()
	if got := b.stored(0, PageSize); !bytes.Equal(got, fill(PageSize, 2)) {
		t.Error("the page was not written")
	}
}
