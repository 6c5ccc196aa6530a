package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/devicetest"
	"holdfast.dev/holdfast/device/faultdev"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// faulty puts a fault device in front of each leg.
func faulty(legs []Leg) (front []Leg, faults []*faultdev.Device) {
	for _, l := range legs {
		f := faultdev.New(l.Dev)
		faults = append(faults, f)
		front = append(front, Leg{l.Name, f})
	}
	return front, faults
}

// story is a fixed run of a pool, and returns what was acknowledged.
func story(legs []Leg) (m *Mirror, data []byte, err error) {
	data = make([]byte, testData)
	m, err = Open(legs, Options{Manual: true})
	if err != nil {
		return nil, data, err
	}
	for i, w := range []struct{ off, n int64 }{{0, 5000}, {3*testRegion - 100, 9000}, {2000, 100}, {9 * testRegion, testRegion}} {
		p := bytes.Repeat([]byte{byte(i + 1)}, int(w.n))
		if _, err := m.WriteAt(p, w.off); err != nil {
			return m, data, err
		}
		copy(data[w.off:], p)
		for _, step := range []func() error{m.Flush, m.Cycle} {
			if err := step(); err != nil {
				return m, data, err
			}
		}
	}
	if err := m.Discard(1000, 3000); err != nil {
		return m, data, err
	}
	clear(data[1000:4000])
	return m, data, m.Close()
}

// Every operation of one of three legs fails in turn, once and for good. The
// story goes on, the others have everything, and the failed leg neither opens
// alone nor disturbs the others when it is back (H10).
func TestOneLegFails(t *testing.T) {
	for _, kind := range []faultdev.Kind{faultdev.Write, faultdev.Flush, faultdev.Discard} {
		for _, forever := range []bool{false, true} {
			for n := 1; ; n++ {
				legs := formatted(t, 3)
				front, faults := faulty(legs)
				bad := n % 3
				rule := faults[bad].Add(faultdev.Rule{On: kind, Nth: n, Forever: forever, Err: device.ErrIO, Short: 512 * int64(n%2)})
				name := fmt.Sprintf("kind %d, operation %d, forever %v", kind, n, forever)
				m, want, err := story(front)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if len(rule.Reached()) == 0 {
					break
				}
				if s := m.Status(); s.Legs[bad].State != Failed || !s.Degraded || s.Legs[bad].WriteErrors == 0 {
					t.Fatalf("%s: status is %+v", name, s.Legs)
				}
				checkAfterFailure(t, name, legs, bad, want)
			}
		}
	}
}

func checkAfterFailure(t *testing.T, name string, legs []Leg, bad int, want []byte) {
	t.Helper()
	if _, err := Open(legs[bad:bad+1], Options{Manual: true}); !errors.Is(err, ErrMissing) {
		t.Fatalf("%s: the failed leg alone: %v", name, err)
	}
	rest := append(append([]Leg(nil), legs[:bad]...), legs[bad+1:]...)
	for _, given := range [][]Leg{rest, legs} {
		m := open(t, given, Options{Manual: true})
		if got := get(t, m, 0, testData); !bytes.Equal(got, want) {
			t.Fatalf("%s: with %d legs the data is not what was acknowledged", name, len(given))
		}
		must(t, m.Close())
		set, has := dirtyOnDisk(t, rest), dataOf(t, legs[bad])
		for i := range testData / testRegion {
			lo, hi := i*testRegion, (i+1)*testRegion
			if !bytes.Equal(has[lo:hi], want[lo:hi]) && !slices.Contains(set, i) {
				t.Fatalf("%s: the failed leg misses something in region %d, and the bits are %v", name, i, set)
			}
		}
	}
	for _, l := range rest {
		if !bytes.Equal(dataOf(t, l), want) {
			t.Fatalf("%s: leg %s differs", name, l.Name)
		}
	}
	r, err := Check(legs)
	must(t, err)
	if r.Sound() || !strings.Contains(fmt.Sprint(r.Problems), "is listed as failed: the pool is degraded") {
		t.Fatalf("%s: Check says %q", name, r.Problems)
	}
}

// Reads that fail on one leg, at any operation, are answered by another.
func TestReadsFailOver(t *testing.T) {
	for n := 1; n <= 6; n++ {
		front, faults := faulty(formatted(t, 2))
		m := open(t, front, Options{Manual: true})
		put(t, m, 0, []byte("here"))
		faults[n%2].Add(faultdev.Rule{On: faultdev.Read, Nth: n, Forever: true, Err: device.ErrIO})
		for range 12 {
			if got := get(t, m, 0, 4); string(got) != "here" {
				t.Fatalf("read %q", got)
			}
		}
		if s := m.Status(); s.Degraded {
			t.Errorf("a read error failed a leg")
		}
	}
	front, faults := faulty(formatted(t, 2))
	m := open(t, front, Options{Manual: true})
	for _, f := range faults {
		f.Add(faultdev.Rule{On: faultdev.Read, Forever: true, Err: device.ErrIO})
	}
	if _, err := m.ReadAt(make([]byte, 8), 16); !errors.Is(err, device.ErrIO) || !strings.HasPrefix(err.Error(), "mirror: read of 8 bytes at 16: leg a: ") {
		t.Errorf("both legs bad: %v", err)
	}
	if s := m.Status(); s.Legs[0].ReadErrors != 2 || s.Legs[1].ReadErrors != 1 { // each by the mender too
		t.Errorf("counted %+v", s.Legs)
	}
}

// A write that fails on every leg fails none of them; its region awaits resync.
func TestWriteFailsEverywhere(t *testing.T) {
	legs := formatted(t, 2)
	front, faults := faulty(legs)
	m := open(t, front, Options{Manual: true})
	put(t, m, 0, []byte("old"))
	for i, f := range faults {
		f.Add(faultdev.Rule{On: faultdev.Write, Err: device.ErrIO, Short: int64(1 + i)})
	}
	if _, err := m.WriteAt([]byte("new"), 0); !errors.Is(err, device.ErrIO) {
		t.Fatalf("write says %v", err)
	}
	if s := m.Status(); s.Degraded || s.Resync.RegionsLeft != 1 {
		t.Fatalf("status is %+v", s)
	}
	first := get(t, m, 0, 3)
	for m.ResyncStep() {
	}
	if got := get(t, m, 0, 3); !bytes.Equal(got, first) {
		t.Errorf("read %q, and %q after resync", first, got)
	}
	if !bytes.Equal(dataOf(t, legs[0]), dataOf(t, legs[1])) {
		t.Error("the legs differ after resync")
	}
	must(t, m.Close())
	wantSound(t, legs)
}

// A flush that failed on every leg, for whomever, is told to the next caller
// of Flush, and what it may have dropped is written again.
func TestLostFlush(t *testing.T) {
	for _, by := range []struct {
		name string
		run  func(m *Mirror) error
	}{
		{"flush", (*Mirror).Flush},
		{"cycle", func(m *Mirror) error { return errors.Join(m.Cycle(), m.Flush()) }},
		{"log", func(m *Mirror) error {
			_, err := m.WriteAt([]byte("z"), 9*testRegion)
			if err == nil {
				return nil
			}
			return m.Flush()
		}},
	} {
		legs := formatted(t, 2)
		front, faults := faulty(legs)
		m := open(t, front, Options{Manual: true})
		put(t, m, 0, []byte("data"))
		for _, f := range faults {
			f.Add(faultdev.Rule{On: faultdev.Flush, Err: device.ErrIO})
		}
		if err := by.run(m); !errors.Is(err, device.ErrIO) {
			t.Errorf("%s: the next flush says %v", by.name, err)
		}
		if err := m.Flush(); err != nil {
			t.Errorf("%s: the flush after says %v", by.name, err)
		}
		if s := m.Status(); s.Degraded || s.Resync.RegionsLeft == 0 {
			t.Errorf("%s: %+v", by.name, s)
		}
		writes := faults[0].Count(faultdev.Write) + faults[1].Count(faultdev.Write)
		for m.ResyncStep() {
		}
		if faults[0].Count(faultdev.Write)+faults[1].Count(faultdev.Write) < writes+2 {
			t.Errorf("%s: the region was not written again to both legs", by.name)
		}
		must(t, m.Close())
		wantSound(t, legs)
	}
}

// While a failed leg cannot be recorded nothing is acknowledged.
func TestUnrecordedFailure(t *testing.T) {
	legs := formatted(t, 2)
	front, faults := faulty(legs)
	m := open(t, front, Options{Manual: true})
	put(t, m, 0, []byte("one"))
	faults[1].Add(faultdev.Rule{On: faultdev.Write, Forever: true, Err: device.ErrIO})
	stuck := faults[0].Add(faultdev.Rule{On: faultdev.Write, Off: ondisk.HeadOffset, Len: BlockSize, Forever: true, Err: device.ErrIO})
	for _, call := range []func() error{
		func() error { _, err := m.WriteAt([]byte("two"), 0); return err },
		func() error { _, err := m.WriteAt([]byte("two"), 0); return err },
		m.Flush,
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), "superblocks cannot be written") {
			t.Fatalf("acknowledged, or: %v", err)
		}
	}
	if len(stuck.Reached()) != 3 {
		t.Errorf("the record was tried %d times", len(stuck.Reached()))
	}
	faults[0].Heal()
	put(t, m, 0, []byte("two"))
	m.Abandon()
	checkOnly := open(t, legs[:1], Options{Manual: true})
	if got := get(t, checkOnly, 0, 3); string(got) != "two" {
		t.Errorf("read %q", got)
	}
}

// Many writers, flushers, readers and cycles while a leg fails under them.
func TestLegFailsUnderLoad(t *testing.T) {
	seed := devicetest.Seed(t)
	for round := range uint64(10) {
		legs := formatted(t, 3)
		front, faults := faulty(legs)
		m := open(t, front, Options{Period: 1000})
		m.Start()
		r := devicetest.Rand(seed, round)
		for i := range 2 {
			faults[i].Add(faultdev.Rule{On: faultdev.Change | faultdev.Flush, Nth: 1 + r.IntN(200), Forever: r.IntN(2) == 0, Err: device.ErrIO})
		}
		var wg sync.WaitGroup
		want := make([]byte, testData)
		for w := range 8 {
			r := devicetest.Rand(seed, 100+round*8+uint64(w))
			lo := testData / 8 * w
			wg.Go(func() {
				for range 40 {
					off, n := lo+r.IntN(testData/16), 1+r.IntN(testData/16)
					p := noise(r, n)
					if _, err := m.WriteAt(p, int64(off)); err != nil {
						t.Errorf("write: %v", err)
						return
					}
					copy(want[off:], p)
					if r.IntN(4) == 0 {
						if err := m.Flush(); err != nil {
							t.Errorf("flush: %v", err)
						}
					}
					if got := make([]byte, n); true {
						if _, err := m.ReadAt(got, int64(off)); err != nil || !bytes.Equal(got, p) {
							t.Errorf("read something else, %v", err)
						}
					}
				}
			})
		}
		wg.Wait()
		must(t, m.Flush())
		s := m.Status()
		m.Abandon()
		for i, l := range s.Legs {
			if l.State == InSync && !bytes.Equal(dataOf(t, legs[i]), want) {
				t.Errorf("round %d: leg %s, in sync, differs", round, l.Name)
			}
		}
		m = open(t, legs, Options{Manual: true})
		if !bytes.Equal(get(t, m, 0, testData), want) {
			t.Errorf("round %d: data differs after a crash", round)
		}
		m.Abandon()
	}
}

// A flush of a leg that failed is not made good by the next one that succeeds:
// whoever flushes hears of it until it is seen to.
func TestFailedFlushIsNotHidden(t *testing.T) {
	front, faults := faulty(formatted(t, 1))
	m := open(t, front, Options{Manual: true})
	put(t, m, 0, []byte("data"))
	faults[0].Add(faultdev.Rule{On: faultdev.Flush, Err: device.ErrIO})
	if err := m.leg(0).flush(); !errors.Is(err, device.ErrIO) {
		t.Fatalf("the flush that fails says %v", err)
	}
	for _, fails := range []bool{true, false} {
		if err := m.Flush(); errors.Is(err, device.ErrIO) != fails {
			t.Errorf("a flush after it says %v", err)
		}
	}
}
