package mirror

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/faultdev"
	"holdfast.dev/holdfast/internal/guard"
)

// Who asks for a flush while one runs shares the next with all others who did.
func TestFlushIsShared(t *testing.T) {
	front, faults := faulty(formatted(t, 2))
	m := open(t, front, Options{})
	before := faults[0].Count(faultdev.Flush)
	held := faults[0].Add(faultdev.Rule{On: faultdev.Flush, Hang: true})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := m.Flush(); err != nil {
			t.Error(err)
		}
	})
	<-held.Reached()
	started := make(chan struct{}, 10)
	for range 10 {
		wg.Go(func() {
			started <- struct{}{}
			if err := m.Flush(); err != nil {
				t.Error(err)
			}
		})
	}
	for range 10 {
		<-started
	}
	for !m.flusher.group.Waiting() {
		time.Sleep(time.Millisecond)
	}
	held.Release()
	wg.Wait()
	// A caller that was slow to ask may have needed one of its own.
	if n := faults[0].Count(faultdev.Flush) - before; n < 2 || n > 11 {
		t.Errorf("%d flushes of a leg for eleven callers", n)
	}
	if begun, good := m.regions.flushBegun.Load(), m.regions.flushGood.Load(); begun != good || begun < 2 {
		t.Errorf("%d flushes began, the last good is %d: callers shared one that ran before they asked", begun, good)
	}
}

// Status and other regions' I/O do not wait for a leg that hangs.
func TestStatusDoesNotWait(t *testing.T) {
	front, faults := faulty(formatted(t, 2))
	m := open(t, front, Options{})
	held := faults[1].Add(faultdev.Rule{On: faultdev.Change | faultdev.Flush, Hang: true})
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := m.WriteAt([]byte("x"), 0); err != nil {
			t.Error(err)
		}
	})
	<-held.Reached()
	if s := m.Status(); s.Regions.Dirty != 1 {
		t.Errorf("status is %+v", s)
	}
	get(t, m, 5*testRegion, 10)
	held.Release()
	wg.Wait()
}

// unflushed is a device of which so many flushes fail that are left.
type unflushed struct {
	device.Device
	left atomic.Int64
}

func (d *unflushed) Flush() error {
	if d.left.Add(-1) >= 0 {
		return device.ErrIO
	}
	return d.Device.Flush()
}

// Flushes that fail on every leg are tried again at leisure: neither the task that
// makes room in the journal nor a resync takes its own for a reason to hurry.
func TestFailingFlushesAreTriedAtLeisure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		legs := ringed(t, 1, guard.CRC32C)
		bad := &unflushed{Device: legs[0].Dev}
		m, err := Open([]Leg{{legs[0].Name, bad}}, Options{Log: slog.New(slog.DiscardHandler)})
		must(t, err)
		m.Start()
		batch(t, m, block(1, 1), block(5, 5))
		put(t, m, 8*BlockSize, make([]byte, BlockSize))
		const most = 1000 // in a minute, and then they succeed
		bad.left.Store(most)
		if m.Flush() == nil {
			t.Error("a flush that fails succeeds")
		}
		time.Sleep(time.Minute)
		if left := bad.left.Load(); left <= 0 || left > most-3 {
			t.Errorf("%d flushes of %d that fail are left after a minute", left, most)
		}
		bad.left.Store(0)
		m.Flush() // tells of the last that failed
		must(t, m.Flush())
		must(t, m.Close())
		wantSound(t, legs)
	})
}
