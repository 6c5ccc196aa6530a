package mirror

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/devicetest"
	"holdfast.dev/holdfast/device/faultdev"
	"holdfast.dev/holdfast/device/powercut"
	"holdfast.dev/holdfast/internal/guard"
)

// Many writers, readers and flushers while legs come and go under them.
func TestLifeUnderLoad(t *testing.T) {
	for _, mode := range []JournalMode{JournalAuto, JournalAlways, JournalNever} {
		t.Run(string(mode), func(t *testing.T) { lifeUnderLoad(t, mode) })
	}
}

func lifeUnderLoad(t *testing.T, mode JournalMode) {
	seed := devicetest.Seed(t)
	legs := ringed(t, 2, guard.CRC32C)
	m := open(t, legs, Options{Period: 1000, Journal: mode})
	m.Start()
	want := make([]byte, testData)
	var wg, life sync.WaitGroup
	done := make(chan struct{})
	life.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			l := legs[i/2%2]
			if err := m.Fail(l.Name); err != nil && !errors.Is(err, ErrLastLeg) {
				t.Error(err)
			}
			if err := m.Attach(l, false); err != nil && !errors.Is(err, ErrWrongState) {
				t.Error(err)
			}
		}
	})
	for w := range 4 {
		r := devicetest.Rand(seed, uint64(w))
		lo := testData / 4 * w
		wg.Go(func() {
			for range 200 {
				off, n := lo+r.IntN(testData/8), 1+r.IntN(testData/8)
				p := noise(r, n)
				if err := writeSomehow(m, p, int64(off)); err != nil {
					t.Errorf("write: %v", err)
				}
				copy(want[off:], p)
				if r.IntN(4) == 0 {
					if err := m.Flush(); err != nil {
						t.Errorf("flush: %v", err)
					}
				}
				got := make([]byte, n)
				if _, err := m.ReadAt(got, int64(off)); err != nil || !bytes.Equal(got, p) {
					t.Errorf("read something else, %v", err)
				}
			}
		})
	}
	wg.Wait()
	close(done)
	life.Wait()
	for i, l := range m.Status().Legs {
		if l.State == Failed {
			must(t, m.Attach(legs[i], false))
		}
	}
	must(t, m.Flush())
	m.Abandon()
	m = open(t, legs, Options{Manual: true})
	resyncAll(m)
	for _, l := range legs {
		if !bytes.Equal(dataOf(t, l), want) {
			t.Errorf("leg %s differs", l.Name)
		}
	}
	if s := m.Status(); s.Degraded {
		t.Errorf("%+v", s)
	}
}

// writeSomehow writes to the ring, if that takes it, or home.
func writeSomehow(m *Mirror, p []byte, off int64) error {
	done, err := m.WriteBatch([]device.Part{{P: p, Off: off}})
	if done == 0 && err == nil {
		_, err = m.WriteAt(p, off)
	}
	return err
}

// A leg fails in the very change that puts another in sync, and the power goes in
// any operation of that: all of them open again.
func TestCutInPromotion(t *testing.T) {
	r := devicetest.Rand(devicetest.Seed(t), 0)
	base := crashBases(t, guard.CRC32C, crashRings[2])[2]
	for n := 1; ; n++ {
		legs, disks := powered(base, r.Uint64(), powercut.Nothing)
		front, faults := faulty(legs)
		m := open(t, front, Options{Manual: true})
		must(t, m.Fail(legs[2].Name))
		must(t, m.Attach(front[2], false))
		faults[1].Add(faultdev.Rule{On: faultdev.Write, Forever: true, Err: device.ErrIO})
		disks[0].Supply().CutAfter(n)
		resyncAll(m)
		m.Abandon()
		for range 4 {
			again, _ := powered(disks, r.Uint64(), powercut.Mixed)
			m, err := Open(again, Options{Manual: true})
			if err != nil {
				t.Fatalf("cut in operation %d: %v", n, err)
			}
			m.Abandon()
		}
		if !disks[0].Supply().Lost() {
			break
		}
	}
}
