package cache

import (
	"bytes"
	"errors"
	"testing"
)

func (b *bench) hold() *Hold {
	b.t.Helper()
	hd, err := b.h.Hold()
	if err != nil {
		b.t.Fatal(err)
	}
	return hd
}

// Held pages are written by nobody until they are released; readers see them,
// they count as dirty, and their region is not quiet.
func TestHold(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	b.write(fill(PageSize, 1), 0) // dirty, and another's
	hd := b.hold()
	for _, off := range []int64{10, 5 * PageSize, 20 * PageSize} {
		if n, err := hd.WriteAt(fill(PageSize, 2), off); n != PageSize || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	if !bytes.Equal(b.stored(0, PageSize), fill(PageSize, 1)) {
		t.Error("what another had written to the page was not written out before it was held")
	}
	if got := b.read(0, 20); got[0] != 1 || got[15] != 2 {
		t.Error("a reader does not see what is held")
	}
	writes := b.s.count("write")
	b.sync()
	b.c.Tick()
	b.c.Tick()
	b.c.evict(64)
	if b.s.count("write") != writes || b.m.Quiet(0, 64*PageSize) {
		t.Errorf("held pages were written, or are quiet: %v", b.m.Quiet(0, 64*PageSize))
	}
	if s := b.c.Stats(); s.Held != 4*PageSize || s.Dirty != 4*PageSize {
		t.Errorf("%+v", s)
	}
	hd.Release()
	hd.Release()
	if _, err := hd.WriteAt([]byte{1}, 0); !errors.Is(err, ErrClosed) {
		t.Errorf("a write through a released hold: %v", err)
	}
	b.sync()
	if !bytes.Equal(b.stored(5*PageSize, PageSize), fill(PageSize, 2)) || b.s.outstanding() != 0 || b.c.Stats().Held != 0 {
		t.Errorf("after the release: %d reserved, %+v", b.s.outstanding(), b.c.Stats())
	}
}

// Others are refused, not stalled, and nothing of theirs gets in.
func TestHeldPagesRefuseOthers(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	hd, other := b.hold(), b.hold()
	if _, err := hd.WriteAt(fill(PageSize, 1), 3*PageSize); err != nil {
		t.Fatal(err)
	}
	pinned := b.pin(9*PageSize, PageSize, PinWrite)
	for what, try := range map[string]func() error{
		"write":        func() error { _, err := b.h.WriteAt([]byte{9}, 3*PageSize); return err },
		"hold":         func() error { _, err := other.WriteAt([]byte{9}, 3*PageSize); return err },
		"pin":          func() error { _, err := b.h.Pin(3*PageSize, 1, PinWrite); return err },
		"discard":      func() error { return b.h.Discard(0, 8*PageSize) },
		"write zeroes": func() error { return b.h.WriteZeroes(3*PageSize+5, 10) },
		"truncate":     func() error { return b.m.Truncate(PageSize, WaitPinned) },
	} {
		if err := try(); !errors.Is(err, ErrHeld) {
			t.Errorf("%s of a held page: %v", what, err)
		}
	}
	if b.h.TryWriteAt([]byte{9}, 3*PageSize) > 0 {
		t.Error("TryWriteAt changed a held page")
	}
	if _, err := other.WriteAt([]byte{9}, 9*PageSize); !errors.Is(err, ErrPinned) {
		t.Errorf("hold of a pinned page: %v", err)
	}
	if got := b.read(3*PageSize, PageSize); !bytes.Equal(got, fill(PageSize, 1)) {
		t.Error("somebody else changed a held page")
	}
	if p, err := b.h.Pin(3*PageSize, 1, PinRead); err != nil {
		t.Errorf("a pin for reading: %v", err)
	} else {
		p.Release()
	}
	pinned.Release()
	other.Release()
	hd.Release()
	b.write([]byte{9}, 3*PageSize)
	b.sync()
}

// A budget full of held pages is an error to the holder; others go on.
func TestHoldsAreBounded(t *testing.T) {
	const limit = 64
	b := newBench(t, 256, Options{Manual: true, DirtyLimit: limit * PageSize}, MappingOptions{})
	hd := b.hold()
	n, err := hd.WriteAt(fill(limit*PageSize, 1), 0)
	if !errors.Is(err, ErrHoldsFull) || n != limit/holdShare*PageSize {
		t.Errorf("held %d bytes, then %v", n, err)
	}
	b.write(fill(limit*PageSize, 2), 100*PageSize)
	b.sync()
	hd.Release()
	b.sync()
	if !bytes.Equal(b.stored(0, int64(n)), fill(n, 1)) {
		t.Error("what was held was not written")
	}
}

// A flush that fails concerns a page that is held by now: it stays held, and
// nothing of either is lost.
func TestFailedFlushUnderHold(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	b.write(fill(PageSize, 1), 0)
	b.c.writeSome(8)
	hd := b.hold()
	if _, err := hd.WriteAt(fill(512, 2), 1024); err != nil {
		t.Fatal(err)
	}
	b.s.fail("flush", errDevice)
	if err := b.h.Sync(); !errors.Is(err, errDevice) {
		t.Fatal(err)
	}
	b.s.fail("flush", nil)
	if err := b.s.Device.Discard(0, PageSize); err != nil { // the disk forgets
		t.Fatal(err)
	}
	hd.Release()
	b.sync()
	want := fill(PageSize, 1)
	copy(want[1024:], fill(512, 2))
	if !bytes.Equal(b.stored(0, PageSize), want) {
		t.Error("something was lost")
	}
}
