package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/faultdev"
)

func state(m *Mirror, i int) MemberState { return m.roll().state(i) }

func resyncAll(m *Mirror) {
	for m.ResyncStep() {
	}
}

// went returns two legs of which the first went on without the second.
func went(t *testing.T) []Leg {
	t.Helper()
	legs := formatted(t, 2)
	m := open(t, legs, Options{Manual: true})
	put(t, m, 0, []byte("both"))
	must(t, m.Flush())
	must(t, m.Fail("b"))
	put(t, m, 5*testRegion, []byte("one"))
	must(t, m.Close())
	return legs
}

// A leg that comes back is given what it misses and no more; it is not read
// from before, and is in sync after, also for the next opening (H10).
func TestAttach(t *testing.T) {
	for _, given := range []bool{false, true} {
		legs := went(t)
		legs[1].Dev = faultdev.New(legs[1].Dev)
		m := open(t, legs, Options{Manual: true})
		back := Leg{Name: "b"}
		if given {
			must(t, m.Fail("b")) // closes the device that was set aside
			if m.Status().Legs[1].Present {
				t.Error("a failed leg keeps its device")
			}
			if err := m.Attach(back, false); !errors.Is(err, ErrMissing) {
				t.Errorf("attached without a device: %v", err)
			}
			back = legs[1]
		}
		must(t, m.Attach(back, false))
		reads := legs[1].Dev.(*faultdev.Device).Count(faultdev.Read)
		if got := get(t, m, 5*testRegion, 3); string(got) != "one" || state(m, 1) != Joining {
			t.Errorf("read %q, leg is %v", got, state(m, 1))
		}
		for range 10 {
			get(t, m, 2<<10, 4096)
		}
		if n := legs[1].Dev.(*faultdev.Device).Count(faultdev.Read); n != reads {
			t.Error("a joining leg was read from")
		}
		if s := m.Status(); !s.Degraded || s.Legs[1].RegionsLeft != 2 {
			t.Errorf("status is %+v", s)
		}
		put(t, m, 9*testRegion, []byte("during"))
		resyncAll(m)
		if s := m.Status(); s.Degraded || s.Legs[1].State != InSync || s.Resync.BytesRead > 2*2*testRegion {
			t.Errorf("status is %+v", s)
		}
		must(t, m.Close())
		wantSound(t, legs)
		if !bytes.Equal(dataOf(t, legs[0]), dataOf(t, legs[1])) {
			t.Error("the legs differ")
		}
	}
}

// Attach says what is wrong, and changes nothing.
func TestAttachRefuses(t *testing.T) {
	legs := went(t)
	m := open(t, legs, Options{Manual: true})
	before := m.Status()
	for _, c := range []struct {
		given Leg
		want  error
	}{
		{Leg{Name: "a"}, ErrWrongState},
		{Leg{Name: "nobody"}, ErrNoLeg},
		{memLegs(1, LegSize(testData))[0], ErrCorrupt},
		{formatted(t, 1)[0], ErrForeign},
	} {
		if err := m.Attach(c.given, true); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.given.Name, err, c.want)
		}
	}
	if after := m.Status(); fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("status was %+v and is %+v", before, after)
	}
}

// Two legs that each went on without the other are never put together unless a
// person says which of them to give up; then all is as on the other.
func TestDiverged(t *testing.T) {
	for keep := range 2 {
		legs := formatted(t, 2)
		used(t, legs)
		names := []string{legs[0].Name, legs[1].Name}
		uuids := identities(legs)
		var choice *ChoiceError
		if _, err := Open(legs[1:], Options{Manual: true}); !errors.As(err, &choice) || !errors.Is(err, ErrMissing) || !slices.Equal(choice.Legs, []string{uuids[0].leg}) {
			t.Fatalf("half of the legs, without the first: %v", err)
		}
		for i := range legs {
			m := open(t, legs[i:i+1], Options{Manual: true, Without: []string{uuids[1-i].leg}})
			put(t, m, int64(3+i)*testRegion, []byte(names[i]))
			must(t, m.Close())
		}
		if _, err := Open(legs, Options{Manual: true}); !errors.Is(err, ErrDiverged) || !errors.As(err, &choice) {
			t.Fatalf("both: %v", err)
		}
		for _, o := range []Options{{Manual: true, Without: []string{names[1-keep]}}, {Manual: true}} {
			// The choice is remembered.
			m := open(t, legs, o)
			if got := get(t, m, int64(3+keep)*testRegion, 1); string(got) != names[keep] || state(m, 1-keep) != Failed {
				t.Fatalf("without %s: read %q, it is %v", names[1-keep], got, state(m, 1-keep))
			}
			must(t, m.Close())
		}
		m := open(t, legs[keep:keep+1], Options{Manual: true})
		// With the word of the other up to then denied it comes back like any.
		must(t, m.Attach(legs[1-keep], true))
		resyncAll(m)
		must(t, m.Close())
		wantSound(t, legs)
		if got := dataOf(t, legs[1-keep])[(4-keep)*testRegion]; got != 0 {
			t.Error("what the leg that was given up wrote alone is still there")
		}
	}
}

// A leg that went on alone is refused by a pool that does not know of it.
func TestAttachDiverged(t *testing.T) {
	legs := formatted(t, 2)
	used(t, legs)
	for i := range legs {
		m := open(t, legs[i:i+1], Options{Manual: true, Without: []string{identities(legs)[1-i].leg}})
		put(t, m, int64(3+i)*testRegion, []byte("alone"))
		must(t, m.Close())
	}
	m := open(t, legs[:1], Options{Manual: true})
	var choice *ChoiceError
	if err := m.Attach(legs[1], false); !errors.Is(err, ErrDiverged) || !errors.As(err, &choice) {
		t.Errorf("attach says %v", err)
	}
	must(t, m.Attach(legs[1], true))
	resyncAll(m)
	must(t, m.Close())
	wantSound(t, legs)
	if got := dataOf(t, legs[1])[4*testRegion]; got != 0 {
		t.Error("a region that only the other had written was not copied")
	}
}

// After a clean close some legs open without the others if no others can.
func TestOpenWithout(t *testing.T) {
	for n := 2; n <= MaxLegs; n++ {
		for set := legMask(1); set < 1<<n; set++ {
			opened := 0
			for _, s := range []legMask{set, set ^ (1<<n - 1)} {
				legs := formatted(t, n)
				used(t, legs)
				var given []Leg
				for i, l := range legs {
					if s.has(i) {
						given = append(given, l)
					}
				}
				if len(given) == 0 {
					continue
				}
				m, err := Open(given, Options{Manual: true})
				if err != nil && !errors.Is(err, ErrMissing) {
					t.Fatal(err)
				}
				if err == nil {
					opened++
					if r := m.roll(); r.in != s || r.present != 1<<n-1 {
						t.Errorf("%b of %d: roll is %+v", s, n, r)
					}
					m.Abandon()
				}
			}
			if opened != 1 {
				t.Errorf("of %b of %d and the others %d open", set, n, opened)
			}
		}
	}
}

// A leg is added, replaced and removed while the pool serves; the others have
// everything throughout, and the legs that were given up keep nothing open.
func TestAddReplaceRemove(t *testing.T) {
	legs := formatted(t, 2)
	var log bytes.Buffer
	m := open(t, legs, logged(&log))
	put(t, m, 7*testRegion, []byte("kept"))
	more := memLegs(4, LegSize(testData)+8192)
	for i := range more {
		more[i].Name = string(rune('p' + i))
		put(t, more[i].Dev, m.geo.DataOff()+2*testRegion, []byte("leftover"))
	}
	if err := m.Add(Leg{"small", kept{device.NewMem(LegSize(testData) - BlockSize)}}); !errors.Is(err, ErrTooSmall) {
		t.Errorf("a small leg: %v", err)
	}
	if err := m.Add(formatted(t, 1)[0]); !errors.Is(err, ErrInUse) {
		t.Errorf("another pool's leg: %v", err)
	}
	if err := m.Add(legs[0]); !errors.Is(err, ErrInUse) {
		t.Errorf("its own leg: %v", err)
	}
	must(t, m.Add(more[0]))
	must(t, m.Add(more[1]))
	if err := m.Add(more[2]); !errors.Is(err, ErrTooMany) {
		t.Errorf("a fifth leg: %v", err)
	}
	resyncAll(m)
	if err := m.Replace("a", more[2]); !errors.Is(err, ErrWrongState) {
		t.Errorf("a leg in sync was replaced: %v", err)
	}
	must(t, m.Fail("a"))
	must(t, m.Replace("a", more[2]))
	must(t, m.Remove("b"))
	resyncAll(m)
	must(t, m.Add(legs[1])) // its old superblock is of no member any more
	resyncAll(m)
	must(t, m.Remove("q"))
	must(t, m.Close())
	given := []Leg{more[2], legs[1], more[0]}
	wantSound(t, given)
	m = open(t, given, Options{Manual: true})
	if s := m.Status(); s.Degraded || len(s.Legs) != 3 || s.Resync.RegionsLeft != 0 {
		t.Errorf("status is %+v", s)
	}
	must(t, m.Fail(given[0].Name))
	must(t, m.Remove(given[1].Name))
	if err := m.Remove(given[2].Name); !errors.Is(err, ErrLastLeg) {
		t.Errorf("the last leg: %v", err)
	}
	if err := m.Fail(given[2].Name); !errors.Is(err, ErrLastLeg) {
		t.Errorf("the last leg: %v", err)
	}
	must(t, m.Close())
	for _, l := range given {
		if got := dataOf(t, l); string(got[7*testRegion:][:4]) != "kept" || got[2*testRegion] != 0 {
			t.Errorf("leg %s differs", l.Name)
		}
	}
}

// a fails and comes back, and while it is joining b fails: the pool does not
// work, and loses nothing; when b is back, all goes on.
func TestStaggeredFailure(t *testing.T) {
	legs := went(t) // b lacks region 5
	front, faults := faulty(legs)
	m := open(t, front, Options{Manual: true})
	must(t, m.Attach(Leg{Name: "b"}, false))
	faults[0].Add(faultdev.Rule{On: faultdev.Any, Forever: true, Err: device.ErrIO})
	if _, err := m.WriteAt([]byte("x"), 0); !errors.Is(err, device.ErrIO) {
		t.Errorf("a write that only a joining leg took: %v", err)
	}
	if err := m.Flush(); !errors.Is(err, device.ErrIO) {
		t.Errorf("a flush: %v", err)
	}
	if _, err := m.ReadAt(make([]byte, 3), 5*testRegion); !errors.Is(err, device.ErrIO) {
		t.Errorf("a read: %v", err)
	}
	if err := m.Fail("a"); !errors.Is(err, ErrLastLeg) {
		t.Errorf("the only copy: %v", err)
	}
	resyncAll(m)
	if state(m, 0) != InSync || state(m, 1) != Joining {
		t.Errorf("legs are %v and %v", state(m, 0), state(m, 1))
	}
	m.Abandon()
	if _, err := Open(legs[1:], Options{Manual: true}); !errors.Is(err, ErrMissing) {
		t.Errorf("a joining leg alone: %v", err)
	}
	faults[0].Heal()
	m = open(t, front, Options{Manual: true})
	resyncAll(m)
	if got := get(t, m, 5*testRegion, 3); string(got) != "one" || m.Status().Degraded {
		t.Errorf("read %q, %+v", got, m.Status())
	}
	must(t, m.Close())
	wantSound(t, legs)
}

// Whoever has only a joining leg left may say that it must do.
func TestJoiningLegByForce(t *testing.T) {
	legs := went(t)
	m := open(t, legs, Options{Manual: true})
	must(t, m.Attach(Leg{Name: "b"}, false))
	m.Abandon()
	m = open(t, legs[1:], Options{Manual: true, Without: []string{identities(legs)[0].leg}})
	if got := get(t, m, 0, 4); string(got) != "both" {
		t.Errorf("read %q", got)
	}
	put(t, m, 0, []byte("goes on"))
	must(t, m.Close())
}

// Every operation of a leg that comes back, and of the one that it is filled
// from, fails in turn, once and for good. Nothing is lost, the leg is either in
// sync or can be attached again, and then the legs are equal.
func TestRejoinFails(t *testing.T) {
	kinds := faultdev.Read | faultdev.Write | faultdev.Flush
	for bad := range 2 {
		for _, forever := range []bool{false, true} {
			for n := 1; ; n++ {
				name := fmt.Sprintf("leg %d, operation %d, forever %v", bad, n, forever)
				legs := went(t)
				front, faults := faulty(legs)
				m := open(t, front, Options{Manual: true})
				rule := faults[bad].Add(faultdev.Rule{On: kinds, Nth: n, Forever: forever, Err: device.ErrIO, Short: 512 * int64(n%2)})
				_ = m.Attach(Leg{Name: "b"}, false) // state tells
				_, werr := m.WriteAt([]byte("later"), 6*testRegion)
				resyncAll(m)
				ferr := m.Flush()
				faults[bad].Heal()
				if state(m, 0) != InSync && state(m, 1) != InSync {
					t.Fatalf("%s: legs are %v and %v", name, state(m, 0), state(m, 1))
				}
				for i, l := range legs {
					if state(m, i) == Failed {
						must(t, m.Attach(Leg{Name: l.Name}, false))
					}
				}
				resyncAll(m)
				got := get(t, m, 0, testData)
				if string(got[5*testRegion:][:3]) != "one" || werr == nil && ferr == nil && string(got[6*testRegion:][:5]) != "later" {
					t.Fatalf("%s: something was lost", name)
				}
				m.Abandon()
				m = open(t, legs, Options{Manual: true})
				resyncAll(m)
				if s := m.Status(); s.Degraded || !bytes.Equal(dataOf(t, legs[0]), dataOf(t, legs[1])) {
					t.Fatalf("%s: %+v", name, s)
				}
				m.Abandon()
				if len(rule.Reached()) == 0 {
					break
				}
			}
		}
	}
}

// A device that cannot be told is left alone where the pool lacks no leg.
func TestStrangers(t *testing.T) {
	legs := formatted(t, 2)
	m := open(t, legs, Options{Manual: true})
	must(t, m.Remove("b"))
	must(t, m.Close())
	var log bytes.Buffer
	for _, given := range [][]Leg{legs, {legs[0], memLegs(1, 1<<20)[0]}} {
		log.Reset()
		m := open(t, given, logged(&log))
		if s := m.Status(); s.Degraded || len(s.Legs) != 1 || !strings.Contains(log.String(), "a device is left alone") {
			t.Errorf("%+v, %s", s, &log)
		}
		must(t, m.Close())
	}
}
