package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/devicetest"
	"holdfast.dev/holdfast/device/faultdev"
	"holdfast.dev/holdfast/device/powercut"
	"holdfast.dev/holdfast/internal/guard"
)

// TestCutInEveryTransition cuts the power in each operation of opening, failing
// a leg and closing, and again in each operation of the opening after that.
// The legs always open again, and a leg that missed something acknowledged
// never opens without those that have it.
func TestCutInEveryTransition(t *testing.T) {
	r := devicetest.Rand(devicetest.Seed(t), 0)
	base := crashBases(t, guard.None, 18*BlockSize)[2]
	for _, fails := range []bool{false, true} {
		for n := 1; ; n++ {
			legs, disks := powered(base, r.Uint64(), powercut.Nothing)
			supply := disks[0].Supply()
			supply.CutAfter(n)
			acked := transitions(t, legs, fails)
			if !supply.Lost() {
				break
			}
			for k := 1; ; k++ {
				name := fmt.Sprintf("fails %v, cut in operation %d, then in %d", fails, n, k)
				legs, again := powered(disks, r.Uint64(), powercut.Mixed)
				again[0].Supply().CutAfter(k)
				if m, err := Open(legs, Options{Manual: true}); err == nil {
					m.Abandon()
				} else if !errors.Is(err, powercut.ErrPowerLost) {
					t.Fatalf("%s: %v", name, err)
				}
				lost := again[0].Supply().Lost()
				checkSubsets(t, name, again, r.Uint64(), acked)
				if !lost {
					break
				}
			}
		}
	}
}

// powered returns what a cut leaves of disks, as legs on a supply of their own.
func powered(disks []*powercut.Disk, seed uint64, how powercut.Mode) ([]Leg, []*powercut.Disk) {
	r := devicetest.Rand(seed, 1)
	on := new(powercut.Supply)
	var legs []Leg
	for _, d := range disks {
		s := d.Survivor(on, r, how)
		legs = append(legs, Leg{s.Name(), kept{s}})
	}
	return legs, on.Disks()
}

// transitions opens, writes and closes a pool, on the way failing a leg, and
// says whether what it wrote was made durable.
func transitions(t *testing.T, legs []Leg, fails bool) (acked bool) {
	t.Helper()
	front, faults := faulty(legs)
	m, err := Open(front, Options{Manual: true})
	if err != nil {
		return false
	}
	defer m.Abandon()
	if fails {
		faults[1].Add(dataRule(faultdev.Rule{On: faultdev.Write, Err: device.ErrIO}, 0, 512))
	}
	if _, err := m.WriteAt(bytes.Repeat([]byte{7}, 512), 0); err != nil || m.Flush() != nil {
		return false
	}
	_ = m.Close() // the power may go here too
	return true
}

// checkSubsets opens all the legs, and a set of them that follows from the seed:
// the whole set opens, and whichever opens reads as it must.
func checkSubsets(t *testing.T, name string, disks []*powercut.Disk, seed uint64, acked bool) {
	t.Helper()
	whole := legMask(1)<<len(disks) - 1
	for _, set := range []legMask{whole, 1 + legMask(seed%uint64(whole))} {
		all, _ := powered(disks, seed, powercut.Mixed)
		var legs []Leg
		for i, l := range all {
			if set.has(i) {
				legs = append(legs, l)
			}
		}
		m, err := Open(legs, Options{Manual: true})
		if errors.Is(err, ErrMissing) && len(legs) < len(disks) {
			continue
		}
		if err != nil {
			t.Fatalf("%s: legs %b: %v", name, set, err)
		}
		got := make([]byte, 512)
		if _, err := m.ReadAt(got, 0); err != nil {
			t.Fatalf("%s: legs %b: %v", name, set, err)
		}
		m.Abandon()
		if got[0] != 7 && (acked || got[0] != 0) {
			t.Fatalf("%s: legs %b: an acknowledged write reads as %d", name, set, got[0])
		}
	}
}

// A leg that was put aside while the pool was closed is two generations behind
// as soon as the pool was opened, whatever became of it then.
func TestLegPutAsideIsStale(t *testing.T) {
	legs := formatted(t, 2)
	used(t, legs)
	old := copyOf(t, legs[1])
	open(t, legs, Options{Manual: true}).Abandon()
	if _, err := Open([]Leg{legs[0], old}, Options{Manual: true}); !errors.Is(err, ErrStale) {
		t.Errorf("got %v", err)
	}
}

// Staggered removal: a is pulled, b goes on, and a comes back, alone and not.
func TestStaggeredRemoval(t *testing.T) {
	legs := formatted(t, 2)
	front, faults := faulty(legs)
	m := open(t, front, Options{Manual: true})
	put(t, m, 0, []byte("first"))
	must(t, m.Flush())
	faults[0].Add(faultdev.Rule{On: faultdev.Any, Forever: true, Err: device.ErrIO})
	put(t, m, 0, []byte("later"))
	must(t, m.Close())
	if _, err := Open(legs[:1], Options{Manual: true}); !errors.Is(err, ErrMissing) {
		t.Errorf("the leg that was pulled, alone: %v", err)
	}
	for _, given := range [][]Leg{legs, legs[1:]} {
		m := open(t, given, Options{Manual: true})
		if got := get(t, m, 0, 5); string(got) != "later" {
			t.Errorf("with %d legs: read %q", len(given), got)
		}
		must(t, m.Close())
	}
	if got := dataOf(t, legs[0])[:5]; string(got) != "first" {
		t.Errorf("the failed leg was written: %q", got)
	}
}
