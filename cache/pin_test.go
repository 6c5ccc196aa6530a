package cache

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"
)

func (b *bench) pin(off, n int64, mode PinMode) *Pin {
	b.t.Helper()
	p, err := b.h.Pin(off, n, mode)
	if err != nil {
		b.t.Fatalf("pin of %d bytes at %d: %v", n, off, err)
	}
	return &p
}

// What is stored through a pin is part of the volume at once, is made durable by
// a sync although nobody said that it changed, and keeps its region from being
// quiet until the pin is gone and the page written.
func TestPinWrite(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	p := b.pin(PageSize+100, 2*PageSize, PinWrite)
	if n := b.s.outstanding(); n != 3 {
		t.Errorf("the owner of 3 pages was asked for %d", n)
	}
	for i := range byte(3) {
		copy(p.Bytes(), fill(2*PageSize, i+1))
		if got := b.read(PageSize+100, 10); got[0] != i+1 {
			t.Error("a reader does not see what was stored")
		}
		b.sync()
		if got := b.stored(PageSize+100, 2*PageSize); !bytes.Equal(got, fill(2*PageSize, i+1)) {
			t.Errorf("sync %d did not make the stores durable", i)
		}
		if b.m.Quiet(0, 64*PageSize) {
			t.Error("a page that is pinned for writing is quiet")
		}
	}
	if n := b.c.evict(64); n != 0 {
		t.Errorf("%d pinned pages left memory", n)
	}
	copy(p.Bytes(), fill(2*PageSize, 9))
	p.Release()
	p.Release()
	if b.m.Quiet(0, 64*PageSize) || b.c.Stats().Pinned != 0 {
		t.Errorf("after the release: quiet %v, %+v", b.m.Quiet(0, 64*PageSize), b.c.Stats())
	}
	b.sync()
	if got := b.stored(PageSize+100, 2*PageSize); !bytes.Equal(got, fill(2*PageSize, 9)) {
		t.Error("the last stores were lost")
	}
	if !b.m.Quiet(0, 64*PageSize) || b.s.outstanding() != 0 || b.c.Stats().Dirty != 0 {
		t.Errorf("in the end: quiet %v, %d reserved, %+v", b.m.Quiet(0, 64*PageSize), b.s.outstanding(), b.c.Stats())
	}
}

// A page that its holder stores to while it is written out is written from a
// snapshot: the invariants check that what is written holds still.
func TestPinnedPageHoldsStill(t *testing.T) {
	for _, st := range []Stability{StabilityWait, StabilityCopy} {
		b := newBench(t, 64, Options{Interval: time.Millisecond, Age: time.Millisecond}, MappingOptions{Stability: st})
		b.s.setBefore(func(op string, off, n int64) {
			if op == "write" {
				time.Sleep(200 * time.Microsecond)
			}
		})
		p := b.pin(0, 8*PageSize, PinWrite)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := byte(0); ; i++ {
				select {
				case <-stop:
					return
				default:
					copy(p.Bytes(), fill(8*PageSize, i))
				}
			}
		})
		wg.Go(func() { // others write to the same pages meanwhile
			for i := range 200 {
				b.write(fill(10, 200), int64(i%8)*PageSize)
			}
		})
		for range 50 {
			b.sync()
		}
		close(stop)
		wg.Wait()
		copy(p.Bytes(), fill(8*PageSize, 77))
		p.Release()
		b.sync()
		if !bytes.Equal(b.stored(0, 8*PageSize), fill(8*PageSize, 77)) {
			t.Errorf("%s: the holder's last stores were lost", st)
		}
	}
}

// The flusher writes a page that stays pinned, at each of its ticks and no more.
func TestFlusherWritesPinnedPages(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	p := b.pin(0, PageSize, PinWrite)
	defer p.Release()
	b.c.Tick()
	before := b.s.count("write")
	for range 5 {
		b.c.Tick()
	}
	if n := b.s.count("write") - before; n != 5 {
		t.Errorf("the pinned page was written %d times in 5 ticks", n)
	}
}

func TestReleaseUnchanged(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	b.read(0, PageSize)
	p, q := b.pin(0, PageSize, PinWrite), b.pin(0, PageSize, PinWrite)
	p.ReleaseUnchanged()
	if b.m.Quiet(0, PageSize) {
		t.Error("the page is quiet, and pinned once more")
	}
	q.ReleaseUnchanged()
	b.sync()
	if n := b.s.count("write"); n != 0 || b.s.outstanding() != 0 {
		t.Errorf("an unchanged page was written %d times, %d are reserved", n, b.s.outstanding())
	}
}

// A pin is refused where the owner refuses, where too much is pinned, beyond the
// end, and then leaves nothing behind.
func TestPinRefused(t *testing.T) {
	const limit = 64
	b := newBench(t, 256, Options{Manual: true, DirtyLimit: limit * PageSize}, MappingOptions{})
	b.s.refuse[5*PageSize] = true
	if _, err := b.h.Pin(3*PageSize, 4*PageSize, PinWrite); !errors.Is(err, ErrRefused) {
		t.Errorf("the owner refused, and the pin: %v", err)
	}
	if _, err := b.h.Pin(0, (limit/pinShare+1)*PageSize, PinRead); !errors.Is(err, ErrTooManyPins) {
		t.Errorf("a pin of too much: %v", err)
	}
	if _, err := b.h.Pin(256*PageSize, 1, PinRead); err == nil {
		t.Error("a pin beyond the end succeeded")
	}
	if _, err := b.h.Pin(0, 0, PinRead); err == nil {
		t.Error("a pin of nothing succeeded")
	}
	if s := b.c.Stats(); s.Pinned != 0 || b.s.outstanding() != 0 || s.Dirty != 0 {
		t.Errorf("refused pins left %+v, %d reserved", s, b.s.outstanding())
	}
	b.s.fail("read", errDevice)
	if _, err := b.h.Pin(20*PageSize, 1, PinRead); !errors.Is(err, errDevice) {
		t.Errorf("a pin of what cannot be read: %v", err)
	}
	b.s.fail("read", nil)
	var pins []*Pin
	big := newBench(t, 8, Options{Manual: true}, MappingOptions{})
	for {
		p, err := big.h.Pin(0, 1, PinRead)
		if err != nil {
			if !errors.Is(err, ErrTooManyPins) {
				t.Error(err)
			}
			break
		}
		pins = append(pins, &p)
	}
	for _, p := range pins {
		p.Release()
	}
	if n := big.c.evict(64); n != 1 {
		t.Errorf("%d pages could leave after %d pins were released", n, len(pins))
	}
}

// A discard zeroes a pinned page in place; truncate refuses, or waits.
func TestPinsAgainstDiscardAndTruncate(t *testing.T) {
	for _, mode := range []PinMode{PinRead, PinWrite} {
		b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
		b.write(fill(4*PageSize, 1), 0)
		b.sync()
		p := b.pin(PageSize, PageSize, mode)
		if err := b.h.Discard(0, 4*PageSize); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p.Bytes(), fill(PageSize, 0)) || !bytes.Equal(b.read(0, 4*PageSize), fill(4*PageSize, 0)) {
			t.Error("a discard left bytes in a pinned page")
		}
		b.sync()
		if !bytes.Equal(b.stored(0, 4*PageSize), fill(4*PageSize, 0)) {
			t.Error("the backing has old bytes")
		}
		if err := b.m.Truncate(PageSize, RefusePinned); !errors.Is(err, ErrPinned) || b.h.Size() != 64*PageSize {
			t.Errorf("truncate: %v, the size is %d", err, b.h.Size())
		}
		if err := b.m.Truncate(2*PageSize, RefusePinned); err != nil {
			t.Errorf("truncate behind the pin: %v", err)
		}
		cut := make(chan error)
		go func() { cut <- b.m.Truncate(0, WaitPinned) }()
		select {
		case err := <-cut:
			t.Fatalf("truncate did not wait for the pin: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
		p.Release()
		if err := <-cut; err != nil || b.h.Size() != 0 {
			t.Errorf("truncate after the release: %v", err)
		}
		if b.s.outstanding() != 0 || b.c.Stats().Dirty != 0 {
			t.Errorf("%d reserved, %+v", b.s.outstanding(), b.c.Stats())
		}
	}
}

// What is written to a pinned page while it is discarded, and written out before the
// backing has discarded it, is gone, from memory too: the two do not differ.
func TestPinnedPageIsWrittenOutUnderDiscard(t *testing.T) {
	for _, mode := range []PinMode{PinRead, PinWrite} {
		for name, fails := range map[string]error{"done": nil, "failed": errDevice} {
			t.Run(name, func(t *testing.T) {
				b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
				b.write(fill(4*PageSize, 1), 0)
				p := b.pin(PageSize, PageSize, mode)
				b.s.setBefore(func(op string, off, n int64) {
					if op == "discard" {
						b.write(fill(PageSize, 2), PageSize)
						b.c.writeSome(64)
						b.expectStored(1, 2)
					}
				})
				b.s.fail("discard", fails)
				if err := b.h.Discard(0, 4*PageSize); !errors.Is(err, fails) {
					t.Fatal(err)
				}
				p.ReleaseUnchanged()
				b.sync()
				b.expectStored(1, b.read(PageSize, PageSize)[0])
				if b.s.outstanding() != 0 || b.c.Stats().Dirty != 0 || !b.m.Quiet(0, 64*PageSize) {
					t.Errorf("%d reserved, %+v", b.s.outstanding(), b.c.Stats())
				}
			})
		}
	}
}

// Close of a handle waits for its pins: their memory would be gone.
func TestCloseWaitsForPins(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	p := b.pin(0, PageSize, PinWrite)
	closed := make(chan struct{})
	go func() { _ = b.c.Close(); close(closed) }()
	select {
	case <-closed:
		t.Fatal("the cache closed under a pin")
	case <-time.After(10 * time.Millisecond):
	}
	p.Bytes()[0] = 5
	p.Release()
	<-closed
}

// What is pinned to read stays where it is, and is what readers see: no shadow
// takes its place.
func TestPinRead(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{Stability: StabilityCopy})
	b.write(fill(2*PageSize, 1), 0)
	p := b.pin(0, PageSize, PinRead)
	b.s.setBefore(func(op string, off, n int64) {
		if op == "write" && b.h.TryWriteAt([]byte{2}, 0) > 0 {
			t.Error("the page got a shadow, which the holder of the pin does not see")
		}
	})
	b.sync()
	b.s.setBefore(nil)
	if n := b.c.evict(64); n != 1 || !bytes.Equal(p.Bytes(), fill(PageSize, 1)) {
		t.Errorf("%d pages left memory, the pinned one is %d", n, p.Bytes()[0])
	}
	p.Release()
	if n := b.c.evict(64); n != 1 {
		t.Errorf("%d pages left memory after the release", n)
	}
}

// The source of a write may be the memory of the place that it goes to, or of
// the page beside it.
func TestWriteFromItself(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	want := make([]byte, 4*PageSize)
	for i := range want {
		want[i] = byte(i / 7)
	}
	b.write(want, 0)
	p := b.pin(0, 4*PageSize, PinWrite)
	defer p.Release()
	for _, c := range []struct{ from, to, n int }{
		{0, 0, 4 * PageSize}, {100, 100, 2 * PageSize}, {0, 2 * PageSize, 2 * PageSize}, {PageSize, 10, 3000},
	} {
		b.write(p.Bytes()[c.from:c.from+c.n], int64(c.to))
		copy(want[c.to:], append([]byte(nil), want[c.from:c.from+c.n]...))
		if !bytes.Equal(b.read(0, 4*PageSize), want) {
			t.Fatalf("%d bytes from %d to %d went wrong", c.n, c.from, c.to)
		}
	}
	b.sync()
	if !bytes.Equal(b.stored(0, 4*PageSize), want) {
		t.Error("the backing has something else")
	}
}
