package cache

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast.dev/holdfast/device"
)

// A pin of a page that is in memory takes no memory itself.
func TestPinTakesNoMemory(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	b.read(0, PageSize)
	sum := byte(0)
	if n := testing.AllocsPerRun(100, func() {
		p, err := b.h.Pin(100, 1000, PinRead)
		if err != nil {
			t.Fatal(err)
		}
		sum += p.Bytes()[0]
		p.Release()
	}); n != 0 {
		t.Errorf("a pin takes %v allocations", n)
	}
}

// What is pinned to read is part of the mapping for as long as it is pinned, however
// often that is truncated and grows again meanwhile, and in the end nothing is pinned.
func TestPinsMeetTruncate(t *testing.T) {
	for _, how := range []OnPinned{RefusePinned, WaitPinned} {
		const pages = 8
		b := newBench(t, pages, Options{Manual: true}, MappingOptions{})
		var cuts, tries atomic.Int64
		stop := make(chan struct{})
		var pinners sync.WaitGroup
		for range 2 {
			pinners.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					p, err := b.h.Pin((pages-1)*PageSize, PageSize, PinRead)
					if err != nil {
						continue
					}
					if b.m.Size() != pages*PageSize {
						t.Error("a page that was cut off is pinned")
					}
					if p.Release(); tries.Add(1)%4 == 0 {
						time.Sleep(time.Microsecond)
					}
				}
			})
		}
		for range 20000 {
			err := b.m.Truncate((pages-1)*PageSize, how)
			if err == nil {
				cuts.Add(1)
				err = b.m.Truncate(pages*PageSize, how)
			}
			if err != nil && (how == WaitPinned || !errors.Is(err, ErrPinned)) {
				t.Fatal(err)
			}
		}
		close(stop)
		pinners.Wait()
		if cuts.Load() == 0 || b.c.Stats().Pinned != 0 {
			t.Errorf("%d truncates succeeded, %d bytes are pinned in the end", cuts.Load(), b.c.Stats().Pinned)
		}
		if err := b.h.Discard(0, pages*PageSize); err != nil || b.c.Stats().Resident != 0 {
			t.Errorf("after a discard of all (%v) %d bytes are resident", err, b.c.Stats().Resident)
		}
	}
}

// While a truncate waits for a pin nothing of what it cuts off is pinned anew: not
// even a page that it has passed.
func TestNoPinOvertakesTruncate(t *testing.T) {
	for _, mode := range []PinMode{PinRead, PinWrite} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, 8, Options{Manual: true}, MappingOptions{})
			b.read(0, 8*PageSize)
			p := b.pin(7*PageSize, PageSize, PinRead)
			var cut, pinned error
			var came bool
			var tasks sync.WaitGroup
			tasks.Go(func() { cut = b.m.Truncate(6*PageSize, WaitPinned) })
			synctest.Wait()
			tasks.Go(func() {
				_, pinned = b.h.Pin(6*PageSize, PageSize, mode)
				came = true
			})
			synctest.Wait()
			if came || b.m.Size() != 8*PageSize {
				t.Errorf("mode %d: a pin came before the truncate that waits (%v), or that did not wait", mode, pinned)
			}
			p.Release()
			synctest.Wait()
			if !came || cut != nil || !errors.Is(pinned, device.ErrOutOfRange) || b.m.Size() != 6*PageSize {
				t.Errorf("mode %d: truncate: %v, a pin of what it cut off: %v, %v", mode, cut, came, pinned)
			}
			tasks.Wait()
			if s := b.c.Stats(); s.Pinned != 0 || s.Resident != 6*PageSize {
				t.Errorf("%+v in the end", s)
			}
			if err := b.c.Abandon(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A pin of a page that is being written out waits: what readers see may be beside
// the frame.
func TestPinDuringWriteOut(t *testing.T) {
	for _, mode := range []PinMode{PinRead, PinWrite} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, 8, Options{Manual: true}, MappingOptions{Stability: StabilityCopy})
			b.write(fill(PageSize, 1), 0)
			written := make(chan struct{})
			b.s.setBefore(func(op string, _, _ int64) {
				if op == "write" {
					<-written
				}
			})
			var tasks sync.WaitGroup
			tasks.Go(func() { _ = b.h.Sync() })
			synctest.Wait()
			b.write(fill(PageSize, 2), 0)
			var p *Pin
			tasks.Go(func() { p = b.pin(0, PageSize, mode) })
			synctest.Wait()
			if p != nil {
				t.Errorf("mode %d: a page that is being written out was pinned", mode)
			}
			close(written)
			tasks.Wait()
			if !bytes.Equal(p.Bytes(), fill(PageSize, 2)) {
				t.Errorf("mode %d: other bytes are pinned than were written", mode)
			}
			p.Release()
			if err := b.c.Abandon(); err != nil {
				t.Error(err)
			}
		})
	}
}
