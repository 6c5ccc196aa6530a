package cache

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast.dev/holdfast/device"
)

// On sound memory no page is ever taken for damaged, whatever happens to it: it is
// written whole and in parts, from sources that change meanwhile, pinned, held,
// mapped, discarded, written to while it is written out, thrown out and read
// again, while writes and flushes of the backing fail. In the end every guard
// fits.
func TestNoFalseAlarm(t *testing.T) {
	for _, st := range []Stability{StabilityWait, StabilityCopy} {
		t.Run(string(st), func(t *testing.T) { newAlarms(t, st).run() })
		t.Run(string(st)+", mapped", func(t *testing.T) {
			a := newAlarms(t, st)
			a.mapped = true
			a.run()
		})
		t.Run(string(st)+", mapped async", func(t *testing.T) {
			a := newAlarms(t, st)
			a.mapped, a.async = true, true
			a.run()
		})
	}
}

// alarms is the many tasks of TestNoFalseAlarm.
type alarms struct {
	b *bench
	// mapped has an address space store, async without announcing it.
	mapped, async bool
	// restless changes all the time. It is memory from outside Go's heap, like a
	// client's.
	restless []byte
	stop     chan struct{}
	wg       sync.WaitGroup
	wrote    atomic.Int64
}

const alarmPages = 2 * MinBudget / PageSize

func newAlarms(t *testing.T, st Stability) *alarms {
	b := newBench(t, alarmPages, Options{Interval: time.Millisecond, Age: time.Millisecond, DirtyLimit: MinBudget / 4}, MappingOptions{Stability: st})
	b.s.setBefore(func(op string, off, n int64) {
		if op == "discard" || op == "write" && off/PageSize%5 == 0 {
			time.Sleep(50 * time.Microsecond) // long enough to be met under way
		}
	})
	other := newBench(t, 4, Options{Manual: true}, MappingOptions{})
	p := other.pin(0, 2*PageSize, PinWrite)
	t.Cleanup(p.Release)
	return &alarms{b: b, restless: p.Bytes(), stop: make(chan struct{})}
}

// task runs f over and over. Only the test's own failures, and the refusals that
// pages in other hands get, may come of it.
func (a *alarms) task(id uint64, f func(r *rand.Rand, h *Handle) error) {
	a.wg.Go(func() {
		r := rand.New(rand.NewPCG(*seedFlag, id))
		h := a.b.open()
		defer h.Close()
		for {
			select {
			case <-a.stop:
				return
			default:
			}
			err := f(r, h)
			if errors.Is(err, device.ErrGuard) {
				a.b.t.Errorf("a false alarm (seed %d): %v", *seedFlag, err)
				return
			}
			if err != nil && !errors.Is(err, errDevice) && !errors.Is(err, ErrWriteOut) && !errors.Is(err, ErrHeld) && !errors.Is(err, ErrPinned) &&
				!errors.Is(err, ErrTooManyPins) && !errors.Is(err, ErrHoldsFull) && !errors.Is(err, ErrAsync) {
				a.b.t.Errorf("task %d: %v", id, err)
			}
		}
	})
}

// place is a range of up to most bytes, often in the few pages that all want.
func (a *alarms) place(r *rand.Rand, most int64) (off, n int64) {
	pages := int64(alarmPages)
	if r.IntN(4) > 0 {
		pages = 12
	}
	n = 1 + r.Int64N(most)
	off = r.Int64N(pages*PageSize - most)
	switch r.IntN(3) {
	case 0:
		off = off / PageSize * PageSize
	case 1:
		off, n = off&^511, (n+511)&^511
	}
	return off, n
}

func (a *alarms) run() {
	a.wg.Go(func() {
		for i := byte(0); ; i++ {
			select {
			case <-a.stop:
				return
			default:
				copy(a.restless, fill(len(a.restless), i))
			}
		}
	})
	for id := range uint64(2) {
		a.task(id, func(r *rand.Rand, h *Handle) error {
			off, n := a.place(r, int64(len(a.restless)))
			a.wrote.Add(1)
			done := 0
			if r.IntN(2) == 0 {
				done = h.TryWriteAt(a.restless[:n], off)
			}
			_, err := h.WriteAt(a.restless[done:n], off+int64(done))
			return err
		})
	}
	a.task(10, func(r *rand.Rand, h *Handle) error {
		off, n := a.place(r, 3*PageSize)
		p, err := h.Pin(off, n, PinMode(r.IntN(2)))
		if err != nil {
			return err
		}
		if p.mode == PinWrite {
			copy(p.Bytes(), a.restless)
		}
		if r.IntN(2) == 0 {
			err = h.SyncRange(off, n)
		}
		p.Release()
		return err
	})
	a.task(11, func(r *rand.Rand, h *Handle) error {
		hd, err := h.Hold()
		if err != nil {
			return err
		}
		defer hd.Release()
		off, n := a.place(r, PageSize)
		_, err = hd.WriteAt(a.restless[:n], off)
		return err
	})
	a.task(13, func(r *rand.Rand, h *Handle) error {
		off, n := a.place(r, 8*PageSize)
		_, err := h.ReadAt(make([]byte, n), off)
		return errors.Join(err, h.SyncRange(off, n))
	})
	a.task(14, func(r *rand.Rand, h *Handle) error {
		time.Sleep(5 * time.Millisecond)
		op := []string{"write", "flush"}[r.IntN(2)]
		a.b.s.fail(op, errDevice)
		time.Sleep(100 * time.Microsecond)
		a.b.s.fail(op, nil)
		return nil
	})
	if a.mapped {
		a.mapper()
	}
	if !a.mapped || a.async { // another table does not notice that a hole was punched
		a.task(12, func(r *rand.Rand, h *Handle) error {
			off, n := a.place(r, 4*PageSize)
			if r.IntN(2) == 0 {
				return h.WriteZeroes(off, n)
			}
			return h.Discard(off, n)
		})
	}
	a.finish()
}

// mapper has an address space store, from when there are guards.
func (a *alarms) mapper() {
	var tab *table
	a.task(15, func(r *rand.Rand, h *Handle) error {
		if tab == nil {
			time.Sleep(100 * time.Millisecond)
			var err error
			if tab, err = a.b.tryAttach(a.async); errors.Is(err, ErrNotAsync) {
				return nil // while something is held
			} else if err != nil {
				return err
			}
		}
		off, _ := a.place(r, PageSize)
		if r.IntN(4) == 0 {
			return tab.load(make([]byte, 1), off)
		}
		return tab.store([]byte{byte(off)}, off)
	})
}

func (a *alarms) finish() {
	b := a.b
	d := 2 * time.Second
	if testing.Short() {
		d /= 4
	}
	time.Sleep(d)
	close(a.stop)
	a.wg.Wait()
	_ = b.h.Sync() // tells what failed meanwhile
	b.sync()
	guards, s := b.guardsFit(), b.c.Stats()
	if a.mapped && len(b.m.attachments()) == 0 {
		b.t.Error("nobody had it mapped: the test tests less than it says")
	}
	b.t.Logf("%d writes, %d guards, %+v", a.wrote.Load(), guards, s)
	if s.Damaged != 0 || s.Failed != 0 || s.Dirty != 0 {
		b.t.Errorf("%+v", s)
	}
	if size := b.h.Size(); !bytes.Equal(b.read(0, size), b.stored(0, size)) {
		b.t.Error("memory and backing differ")
	}
	if guards == 0 && !a.mapped || s.Evicted == 0 {
		b.t.Errorf("%d guards, %d pages evicted: the test tests less than it says", guards, s.Evicted)
	}
}
