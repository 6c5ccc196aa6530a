package mirror

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/faultdev"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/internal/rangelock"
)

// A batch that is flushed takes one turn of the legs: a leg may have flushed before
// another has written.
func TestSyncBatchIsOneTurn(t *testing.T) {
	legs := ringed(t, 2, guard.CRC32C)
	slow := &behind{Device: legs[0].Dev}
	legs[0].Dev = slow
	quick := &ahead{Device: legs[1].Dev}
	legs[1].Dev = quick
	m := open(t, legs, Options{})
	put(t, m, 9*BlockSize, []byte{1}) // guards to be written with it
	slow.until = make(chan struct{})
	quick.flushed = slow.until
	n, synced, err := m.SyncBatch([]device.Part{block(1, 1), block(5, 1)})
	if n != 2 || !synced || err != nil || slow.gaveUp {
		t.Errorf("%d, %v, %v; waited in vain: %v", n, synced, err, slow.gaveUp)
	}
	slow.until, quick.flushed = nil, nil
	if s := m.ring.j.Status(); s.Transactions != 1 || m.guards.dirty != 0 || m.ring.mark() != 1 || m.ring.j.Checkpoint(1).Empty() {
		t.Errorf("%+v, %d blocks of guards are not written", s, m.guards.dirty)
	}
}

// behind is a device whose writes wait for somebody.
type behind struct {
	device.Device
	until  chan struct{}
	gaveUp bool
}

func (d *behind) WriteAt(p []byte, off int64) (int, error) {
	if d.until != nil {
		select {
		case <-d.until:
		case <-time.After(10 * time.Second):
			d.gaveUp = true
		}
	}
	return d.Device.WriteAt(p, off)
}

// ahead is a device that tells when it is flushed.
type ahead struct {
	device.Device
	flushed chan struct{}
}

func (d *ahead) Flush() error {
	err := d.Device.Flush()
	if d.flushed != nil {
		close(d.flushed)
		d.flushed = nil
	}
	return err
}

// A batch is not flushed at once where that would wait for somebody, leave a gap in
// the journal, or pass over somebody who has to be told; nor if it is not all.
func TestSyncBatchLeavesTheFlush(t *testing.T) {
	one := []device.Part{block(1, 1)}
	fault := errors.New("fault")
	for what, c := range map[string]struct {
		parts  []device.Part
		before func(m *Mirror, done func())
		n      int
		synced bool
	}{
		"alone": {one, func(_ *Mirror, do func()) { do() }, 1, true},
		"beside a flush": {one, func(m *Mirror, do func()) {
			must(t, m.flusher.group.Do(func() error { do(); return nil }))
		}, 1, false},
		"a flush that nobody was told of": {one, func(m *Mirror, do func()) {
			m.flusher.debt = fault
			do()
			if err := m.Flush(); !errors.Is(err, fault) {
				t.Errorf("nobody was told: %v", err)
			}
		}, 1, false},
		"not all is small": {append([]device.Part{{P: make([]byte, smallWrite+BlockSize), Off: 4 * BlockSize}}, one...),
			func(_ *Mirror, do func()) { do() }, 0, false},
		"the last is not small": {append(slices.Clone(one), device.Part{P: make([]byte, smallWrite+BlockSize), Off: 4 * BlockSize}),
			func(_ *Mirror, do func()) { do() }, 1, false},
	} {
		m, seen := spreading(t, guard.CRC32C, Options{})
		flushes := 0
		c.before(m, func() {
			n, synced, err := m.SyncBatch(c.parts)
			if flushes = seen[0].flushes; n != c.n || synced != c.synced || err != nil {
				t.Errorf("%s: %d, %v, %v", what, n, synced, err)
			}
		})
		if c.synced != (flushes == 1) && what != "a flush that nobody was told of" {
			t.Errorf("%s: %d flushes", what, flushes)
		}
	}
	// One that is on its way has a place before it.
	m, _ := spreading(t, guard.CRC32C, Options{})
	x := m.ring.j.Begin(1)
	h := m.ranges.Acquire(9*BlockSize, BlockSize, rangelock.Exclusive)
	if _, err := m.addBlocks(x, opWrite, block(9, 9).P, 9*BlockSize, BlockSize, nil); err != nil {
		t.Fatal(err)
	}
	must(t, m.ring.j.Append(x))
	var wg sync.WaitGroup
	wg.Go(func() {
		if n, synced, err := m.SyncBatch(one); n != 1 || synced || err != nil {
			t.Errorf("beside one on its way: %d, %v, %v", n, synced, err)
		}
	})
	for m.ring.j.Status().Transactions == 0 {
		time.Sleep(time.Millisecond)
	}
	m.ring.j.Wrote(x, nil)
	m.ranges.Release(h)
	wg.Wait()
}

// If a turn fails on every leg the journal is broken, whichever part of it failed, and
// all is written home before a flush is acknowledged; nothing is lost.
func TestSyncBatchFails(t *testing.T) {
	for _, kind := range []faultdev.Kind{faultdev.Write, faultdev.Flush} {
		m, legs := failingOnce(t, kind)
		parts := []device.Part{block(1, 2), block(2, 2)}
		if n, synced, err := m.SyncBatch(parts); n != 0 || synced || !errors.Is(err, device.ErrIO) {
			t.Fatalf("%v: %d, %v, %v", kind, n, synced, err)
		}
		if kind == faultdev.Write {
			if got := get(t, m, BlockSize, 1)[0]; got != 1 {
				t.Errorf("what was not written reads as %d", got)
			}
		}
		must(t, m.WriteScattered(parts))
		if err := m.Flush(); !errors.Is(err, device.ErrIO) {
			t.Errorf("%v: the flush that failed is not told of: %v", kind, err)
		}
		must(t, m.Flush())
		m.Abandon()
		m = open(t, legs, Options{Manual: true})
		if a, b := get(t, m, BlockSize, 1)[0], get(t, m, 2*BlockSize, 1)[0]; a != 2 || b != 2 {
			t.Errorf("%v: read %d and %d", kind, a, b)
		}
		resyncAll(m)
		must(t, m.Close())
		wantSound(t, legs)
	}
}
