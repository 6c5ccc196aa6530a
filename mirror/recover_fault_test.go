package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/faultdev"
	"holdfast.dev/holdfast/internal/guard"
)

// crashed returns two legs of a pool that was not closed, with blocks in the
// journal, some of them newer than at home, and others that were written home and
// not flushed; and what must be read.
func crashed(t *testing.T) (legs []Leg, want []byte) {
	t.Helper()
	legs = ringed(t, 2, guard.CRC32C)
	m := open(t, legs, Options{Manual: true})
	want = make([]byte, testData)
	write := func(parts ...device.Part) {
		batch(t, m, parts...)
		for _, p := range parts {
			copy(want[p.Off:], p.P)
		}
	}
	put(t, m, 0, bytes.Repeat([]byte{1}, 3*BlockSize))
	copy(want, bytes.Repeat([]byte{1}, 3*BlockSize))
	must(t, m.Flush())
	write(block(1, 2), block(9, 3), block(40, 4))
	must(t, m.Flush())
	write(block(1, 5), block(20, 6))
	must(t, m.Flush())
	put(t, m, 30*BlockSize, bytes.Repeat([]byte{7}, 2*BlockSize))
	copy(want[30*BlockSize:], bytes.Repeat([]byte{7}, 2*BlockSize))
	m.Abandon()
	return legs, want
}

// Every operation of one leg fails in turn during recovery, once and for good:
// replay, resync, and what comes after. Either the pool opens and has everything,
// or it does once the leg is sound.
func TestRecoveryFails(t *testing.T) {
	for _, kind := range []faultdev.Kind{faultdev.Read, faultdev.Write, faultdev.Flush, faultdev.Read | faultdev.Change | faultdev.Flush} {
		for _, forever := range []bool{false, true} {
			for bad := range 2 {
				for n := 1; ; n++ {
					name := fmt.Sprintf("kind %d, leg %d, operation %d, forever %v", kind, bad, n, forever)
					if !recoverWithFault(t, name, bad, faultdev.Rule{On: kind, Nth: n, Forever: forever, Err: device.ErrIO, Short: 512 * int64(n%2)}) {
						break
					}
				}
			}
		}
	}
}

// recoverWithFault says whether the fault was met.
func recoverWithFault(t *testing.T, name string, bad int, rule faultdev.Rule) bool {
	t.Helper()
	legs, want := crashed(t)
	front, faults := faulty(legs)
	armed := faults[bad].Add(rule)
	m, err := Open(front, Options{Manual: true})
	if err == nil {
		for range 100 { // a leg that cannot be read may keep a region waiting
			if !m.ResyncStep() {
				break
			}
		}
		wantRead(t, name+", while it lasts", m, want)
		m.Abandon()
	} else if !errors.Is(err, device.ErrIO) && !errors.Is(err, ErrCorrupt) {
		t.Fatalf("%s: %v", name, err)
	}
	faults[bad].Heal()
	m = open(t, legs, Options{Manual: true})
	resyncAll(m)
	wantRead(t, name+", once it is sound", m, want)
	for i, l := range legs {
		if state(m, i) == Failed {
			must(t, m.Attach(Leg{Name: l.Name}, false))
		}
	}
	resyncAll(m)
	must(t, m.Close())
	wantSound(t, legs)
	if !bytes.Equal(dataOf(t, legs[0]), want) {
		t.Fatalf("%s: the legs do not hold what was written", name)
	}
	return len(armed.Reached()) > 0
}

func wantRead(t *testing.T, name string, m *Mirror, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := m.ReadAt(got, 0); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%s: it reads other than it was written", name)
	}
}
