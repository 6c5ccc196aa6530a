package mirror

import (
	"sync"
	"testing"
	"time"

	"holdfast.dev/holdfast/device/faultdev"
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
