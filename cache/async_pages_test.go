package cache

import (
	"bytes"
	"errors"
	"testing"

	"holdfast.dev/holdfast/device"
)

// A page has no guard from the moment that it is mapped where stores are not
// announced, though it is mapped for reading and clean: what is stored to it is not
// taken for damage, not even where a snapshot of it does go bad.
func TestSilentPagesHaveNoGuard(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	b.write(fill(4*PageSize, 1), 0)
	b.sync()
	if pg := b.m.page(0); !pg.load().has(guarded) {
		t.Fatal("a page that was written has no guard")
	}
	tab := b.attachAs(true)
	if err := tab.load(make([]byte, 1), 0); err != nil {
		t.Fatal(err)
	}
	if pg := b.m.page(0); pg.load().has(guarded) {
		t.Errorf("mapped, and it has a guard: %v", pg.load())
	}
	tab.touched(0, 2)
	b.m.findStored(0, 64)
	r := b.m.collect(b.m.tags.dirty, 0, 64, walk{})
	if r.copied == nil {
		t.Fatal("a page that is stored to is written from its frame")
	}
	tab.touched(0, 3)
	r.copied.mem[5] ^= 1
	r.finish()
	if s := b.c.Stats(); s.Damaged != 0 || s.Failed != PageSize {
		t.Errorf("%+v", s)
	}
	b.expectStored(0, 1)
	if err := b.h.Sync(); !errors.Is(err, device.ErrGuard) {
		t.Errorf("that a snapshot went bad is not told: %v", err)
	}
	b.expectStored(0, 3)
	b.sync()
	if pg := b.m.page(0); pg.load().has(guarded) || b.c.Stats().Dirty != 0 {
		t.Errorf("written out: %v, %+v", pg.load(), b.c.Stats())
	}
}

// A store to a page that is pinned to write is made durable by each sync, and is
// found when the pin ends, though who ends it says that nothing was stored through
// it: write-outs do not rely on anybody's write access.
func TestSilentStoreToAPinnedPage(t *testing.T) {
	for _, mixed := range []bool{false, true} {
		b, tab := silent(t)
		if mixed {
			if err := b.attach().store([]byte{1}, 7*PageSize); err != nil {
				t.Fatal(err)
			}
		}
		p := b.pin(6*PageSize, 3*PageSize, PinWrite)
		for v := byte(1); v < 4; v++ {
			tab.touched(7, v)
			tab.touched(9, v)
			b.sync()
			b.expectStored(7, v)
			b.expectStored(9, v)
			if b.m.Quiet(7*PageSize, PageSize) {
				t.Error("a pinned page is quiet")
			}
		}
		b.s.setBefore(func(op string, off, n int64) {
			if op == "write" && off <= 7*PageSize && 7*PageSize < off+n {
				b.s.setBefore(nil)
				tab.touched(7, 4)
			}
		})
		b.sync()
		p.ReleaseUnchanged()
		tab.touched(8, 5)
		b.sync()
		b.expectStored(7, 4)
		b.expectStored(8, 5)
		if s := b.c.Stats(); s.Dirty != 0 || s.Unannounced != 0 || b.s.outstanding() != 0 {
			t.Errorf("%+v", s)
		}
	}
}

// What was stored before a page was discarded or cut off does not come back, also
// if its mapper tells of it afterwards; what is stored to a pinned page after it
// was discarded stays.
func TestSilentStoreIsDiscarded(t *testing.T) {
	b, tab := silent(t)
	p := b.pin(20*PageSize, PageSize, PinWrite)
	for _, n := range []int64{7, 9, 20, 40} {
		tab.touched(n, 1)
	}
	b.m.collectAsync(9, 1)
	if err := b.h.Discard(7*PageSize, 14*PageSize); err != nil {
		t.Fatal(err)
	}
	if err := b.m.Truncate(30*PageSize, RefusePinned); err != nil {
		t.Fatal(err)
	}
	if b.m.tags.stored.has(9) {
		t.Error("a page that has gone is still to be made dirty")
	}
	b.m.tags.stored.set(9) // by who looked at the page just before
	if !b.m.Quiet(9*PageSize, PageSize) {
		t.Error("a page that has gone is dirty")
	}
	for _, n := range []int64{7, 9, 40} {
		if tab.touch([]byte{1}, n*PageSize) {
			t.Errorf("page %d is still mapped", n)
		}
	}
	tab.touched(20, 2)
	if err := tab.store([]byte{1}, 40*PageSize); !errors.Is(err, device.ErrOutOfRange) {
		t.Errorf("a store beyond the end: %v", err)
	}
	b.sync()
	if err := b.m.Truncate(64*PageSize, RefusePinned); err != nil {
		t.Fatal(err)
	}
	if !b.m.Quiet(40*PageSize, PageSize) || !b.m.Quiet(7*PageSize, 8*PageSize) {
		t.Error("what is not there is dirty")
	}
	p.Release()
	b.sync()
	for n, v := range map[int64]byte{7: 0, 9: 0, 20: 2, 40: 0} {
		b.expectStored(n, v)
		if got := b.read(n*PageSize, PageSize); !bytes.Equal(got, fill(PageSize, v)) {
			t.Errorf("page %d holds %d", n, got[0])
		}
	}
	if err := tab.store([]byte{3}, 40*PageSize); err != nil {
		t.Error(err)
	}
	b.sync()
	if b.stored(40*PageSize, 1)[0] != 3 || b.s.outstanding() != 0 {
		t.Error("a page that has come back cannot be stored to")
	}
}

// Random operations by one task, with an address space that stores silently, each
// checked against a slice of bytes: whatever becomes of a page between a store and
// the next question, the store is there.
func TestSilentModel(t *testing.T) {
	for _, st := range []Stability{StabilityWait, StabilityCopy} {
		t.Run(string(st), func(t *testing.T) {
			b := newBench(t, 2*MinBudget/PageSize, Options{Manual: true}, MappingOptions{Stability: st})
			s := &silentModel{b: b, tab: b.attachAs(true), want: make([]byte, b.m.Size())}
			t.Cleanup(s.unpin)
			steps := 6000
			if testing.Short() {
				steps = 1500
			}
			rng := newRand(t)
			for step := range steps {
				if err := s.step(rng.IntN); err != nil {
					t.Fatalf("step %d: %v (seed %d)", step, err, *seedFlag)
				}
			}
			s.unpin()
			b.sync()
			if !bytes.Equal(b.stored(0, b.m.Size()), s.want) {
				t.Errorf("the backing differs after the last sync (seed %d)", *seedFlag)
			}
			if c := b.c.Stats(); c.Dirty != 0 || c.Evicted == 0 || c.Unannounced != 0 || c.Damaged != 0 || b.s.outstanding() != 0 {
				t.Errorf("%+v", c)
			}
		})
	}
}

type silentModel struct {
	b    *bench
	tab  *table
	want []byte
	pin  *Pin
}

func (s *silentModel) step(choose func(int) int) error {
	b := s.b
	pages := len(s.want) / PageSize
	n := choose(pages)
	if choose(2) == 0 {
		n = choose(32) // where all want to be
	}
	first, off, v := int64(n), n*PageSize, byte(choose(256))
	page := s.want[off : off+PageSize]
	switch choose(16) {
	default:
		at := 64 * choose(PageSize/64)
		copy(page[at:], fill(64, v))
		return s.tab.store(fill(64, v), int64(off+at))
	case 0, 1:
		got := make([]byte, PageSize)
		if err := s.tab.load(got, int64(off)); err != nil || !bytes.Equal(got, page) {
			return errors.Join(errModel, err)
		}
	case 2, 3:
		if !bytes.Equal(b.read(int64(off), PageSize), page) {
			return errModel
		}
	case 4:
		b.write(fill(1000, v), int64(off)+1000)
		copy(page[1000:], fill(1000, v))
	case 5:
		clear(page)
		return b.h.Discard(int64(off), PageSize)
	case 6:
		err := b.h.SyncRange(int64(off), PageSize)
		if err != nil || !bytes.Equal(b.stored(int64(off), PageSize), page) {
			return errors.Join(errModel, err)
		}
	case 7:
		b.c.evict(64)
	case 8:
		b.c.writeSome(16)
	case 9:
		b.c.Tick()
	case 10: // the system swaps, or the client drops pages
		s.tab.Unmap(first, 8)
	case 11:
		if s.pin == nil {
			s.pin = b.pin(int64(off), PageSize, PinWrite)
		} else {
			s.unpin()
		}
	case 12:
		if cut := int64(off); s.pin == nil {
			clear(s.want[cut:])
			return errors.Join(b.m.Truncate(cut, RefusePinned), b.m.Truncate(int64(len(s.want)), RefusePinned))
		}
	case 13:
		return s.again(choose(2) == 0)
	}
	return nil
}

func (s *silentModel) unpin() {
	if s.pin != nil {
		s.pin.ReleaseUnchanged()
		s.pin = nil
	}
}

var errModel = errors.New("the bytes differ from the model")

// again ends the address space, by its own will or not, and lets another in.
func (s *silentModel) again(dead bool) error {
	if s.tab.dead = dead; !dead && s.pin == nil {
		s.tab.a.Revoke(0, s.b.m.arenaPages())
	}
	err := s.tab.a.Close()
	s.tab = s.b.attachAs(true)
	return err
}
