package mirror

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/deadline"
	"holdfast.dev/holdfast/device/faultdev"
)

const (
	hangLimit = 40 * time.Second
	// hangPatience is how long one leg may be waited for.
	hangPatience = hangLimit / 4 * 5
)

// watchedLegs puts devices that hang on demand, watched, before legs.
func watchedLegs(under []Leg) (front []Leg, faults []*faultdev.Device) {
	front, faults = faulty(under)
	for i := range front {
		front[i].Dev = deadline.New(front[i].Dev, deadline.Options{Name: front[i].Name, Deadline: hangLimit})
	}
	return front, faults
}

// heal lets go on what hangs, and waits for it.
func heal(faults []*faultdev.Device) {
	for _, f := range faults {
		f.Heal()
	}
	synctest.Wait()
}

// within wants a call to succeed, or to fail as said, before its time is over.
func within(t *testing.T, most time.Duration, want error, call func() error) {
	t.Helper()
	begin := time.Now()
	if err := call(); !errors.Is(err, want) || err != nil && want == nil {
		t.Errorf("it says %v, want %v", err, want)
	}
	if took := time.Since(begin); took > most {
		t.Errorf("it took %v", took)
	}
}

// A read of a leg that hangs is answered by another. The leg cannot be healed, so
// it is failed, and costs no time from then on.
func TestReadsOfHungLeg(t *testing.T) {
	for bad := range 2 {
		synctest.Test(t, func(t *testing.T) {
			front, faults := watchedLegs(formatted(t, 2))
			m, err := Open(front, Options{Manual: true})
			must(t, err)
			put(t, m, 0, []byte("here"))
			faults[bad].Add(faultdev.Rule{On: faultdev.Read, Forever: true, Hang: true})
			m.leg(1 - bad).reading.Store(1) // so that the bad one is asked first
			most := hangPatience
			for range 3 {
				within(t, most, nil, func() error {
					p := make([]byte, 4)
					_, err := m.ReadAt(p, 0)
					if string(p) != "here" {
						t.Errorf("read %q", p)
					}
					return err
				})
				most = 0
			}
			m.leg(1 - bad).reading.Store(0)
			if l := m.Status().Legs; l[bad].State != Failed || l[bad].Timeouts == 0 || l[1-bad].Timeouts != 0 {
				t.Errorf("legs are %+v", l)
			}
			heal(faults)
			must(t, m.Close())
		})
	}
}

// A leg that hangs when something is to be changed is failed, and the change is
// acknowledged by the others; closing the pool does not wait for it.
func TestChangesOfHungLeg(t *testing.T) {
	for name, call := range map[string]func(m *Mirror) error{
		"write":   func(m *Mirror) error { _, err := m.WriteAt([]byte("new"), 0); return err },
		"region":  func(m *Mirror) error { _, err := m.WriteAt([]byte("new"), 9*testRegion); return err },
		"discard": func(m *Mirror) error { return m.Discard(0, testRegion) },
		"zero":    func(m *Mirror) error { return m.WriteZeroes(0, testRegion) },
		"flush":   (*Mirror).Flush,
		"cycle":   func(m *Mirror) error { return errors.Join(m.Cycle(), m.Cycle()) },
		"close":   (*Mirror).Close,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				legs := formatted(t, 3)
				front, faults := watchedLegs(legs)
				m, err := Open(front, Options{})
				must(t, err)
				put(t, m, 0, []byte("old"))
				faults[1].Add(faultdev.Rule{On: faultdev.Any, Forever: true, Hang: true})
				within(t, hangPatience, nil, func() error { return call(m) })
				s := m.Status()
				if l := s.Legs[1]; l.State != Failed || l.Timeouts == 0 || l.Timeouts != l.WriteErrors {
					t.Errorf("the leg is %+v", l)
				}
				if name != "close" {
					within(t, 0, nil, m.Flush)
					within(t, 0, nil, m.Close)
				}
				heal(faults)
				m, err = Open([]Leg{legs[0], legs[2]}, Options{})
				must(t, err)
				must(t, m.Close())
				if !bytes.Equal(dataOf(t, legs[0]), dataOf(t, legs[2])) {
					t.Error("the legs that are left differ")
				}
			})
		})
	}
}

// While a leg hangs, and before it is known to, the status is there at once.
func TestStatusWhileLegHangs(t *testing.T) {
	for on, call := range map[faultdev.Kind]func(m *Mirror) error{
		faultdev.Read:  func(m *Mirror) error { _, err := m.ReadAt(make([]byte, 3), 0); return err },
		faultdev.Write: func(m *Mirror) error { _, err := m.WriteAt([]byte("new"), 0); return err },
		faultdev.Flush: (*Mirror).Flush,
	} {
		synctest.Test(t, func(t *testing.T) {
			front, faults := watchedLegs(formatted(t, 1))
			m, err := Open(front, Options{})
			must(t, err)
			faults[0].Add(faultdev.Rule{On: on, Forever: true, Hang: true})
			done := make(chan error)
			go func() { done <- call(m) }()
			time.Sleep(hangLimit / 2)
			within(t, 0, nil, func() error { m.Status(); return nil })
			if err := <-done; !errors.Is(err, device.ErrTimeout) {
				t.Errorf("the call says %v", err)
			}
			heal(faults)
			m.Abandon()
		})
	}
}

// Where every leg hangs callers are told, and no leg is given up: when the legs
// come back the pool goes on, and has lost nothing.
func TestEveryLegHangs(t *testing.T) {
	for _, n := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			legs := formatted(t, n)
			front, faults := watchedLegs(legs)
			m, err := Open(front, Options{})
			must(t, err)
			put(t, m, 0, []byte("old"))
			for _, f := range faults {
				f.Add(faultdev.Rule{On: faultdev.Any, Forever: true, Hang: true})
			}
			write := func() error { _, err := m.WriteAt([]byte("new"), 0); return err }
			within(t, hangPatience, device.ErrTimeout, write)
			within(t, 0, device.ErrTimeout, write)
			within(t, 0, device.ErrTimeout, m.Flush)
			within(t, 0, device.ErrTimeout, func() error { _, err := m.ReadAt(make([]byte, 3), 0); return err })
			if s := m.Status(); s.Degraded {
				t.Errorf("status is %+v", s)
			}
			heal(faults)
			within(t, 0, nil, write)
			within(t, 0, nil, m.Flush)
			for m.ResyncStep() {
			}
			within(t, 0, nil, m.Close)
			wantSound(t, legs)
			for _, l := range legs {
				if got := dataOf(t, l); string(got[:3]) != "new" {
					t.Errorf("leg %s holds %q", l.Name, got[:3])
				}
			}
		})
	}
}

// failsListing lists one extent and fails.
type failsListing struct{ kept }

func (d failsListing) Extents(off, n int64, yield func(device.Extent) bool) error {
	if !yield(device.Extent{Off: off, Len: 100}) {
		return nil
	}
	return device.ErrTimeout
}

// A leg that fails while it lists extents is replaced by another where it
// stopped; all of them failing is an error.
func TestExtentsFailOver(t *testing.T) {
	legs := formatted(t, 2)
	legs[0].Dev = failsListing{legs[0].Dev.(kept)}
	m := open(t, legs, Options{Manual: true})
	m.leg(1).reading.Store(1) // so that the first leg is asked first
	var all []device.Extent
	must(t, m.Extents(0, 1000, func(e device.Extent) bool { all = append(all, e); return true }))
	if len(all) != 2 || all[0] != (device.Extent{Len: 100}) || all[1].Off != 100 || all[1].Len != 900 {
		t.Errorf("the extents are %+v", all)
	}
	must(t, m.Extents(0, 1000, func(device.Extent) bool { return false }))
	if l := m.Status().Legs[0]; l.ReadErrors != 1 || l.Timeouts != 1 {
		t.Errorf("the leg is charged %+v", l)
	}
	m.leg(1).dev = failsListing{legs[1].Dev.(kept)}
	err := m.Extents(0, 1000, func(device.Extent) bool { return true })
	if !errors.Is(err, device.ErrTimeout) {
		t.Errorf("both fail, and it says %v", err)
	}
	m.leg(1).reading.Store(0)
}
