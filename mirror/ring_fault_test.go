package mirror

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/faultdev"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// What rots in the ring of one leg is found when it is read or scrubbed, charged
// and healed there; so the other may rot after.
func TestRotInTheRing(t *testing.T) {
	for _, scrubbed := range []bool{false, true} {
		legs := ringed(t, 2, guard.T10DIF)
		m := open(t, legs, Options{Manual: true})
		batch(t, m, block(5, 7))
		must(t, m.Flush())
		v := m.ring.held(5*BlockSize, 1, nil)
		at := m.ring.j.Pieces(&v[0], nil)[0].Off
		for bad := range legs {
			put(t, legs[bad].Dev, at+100, []byte{1, 2, 3})
			if scrubbed {
				must(t, m.Scrub(ScrubOptions{CheckOnly: true}))
				if s := m.Status().Scrub; s.Bad != 1 || s.Healed != 0 || s.Lost != 0 {
					t.Errorf("check: %+v", s)
				}
				if got := get(t, legs[bad].Dev, at+100, 1); got[0] != 1 {
					t.Errorf("a check has changed leg %d", bad)
				}
				must(t, m.ClearErrors(""))
				must(t, m.Scrub(ScrubOptions{}))
				if s := m.Status().Scrub; s.Bad != 1 || s.Healed != 1 || s.Lost != 0 {
					t.Errorf("scrub: %+v", s)
				}
			}
			for range 2 * len(legs) {
				m.leg(1 - bad).reading.Add(1) // the other is busy
				got := get(t, m, 5*BlockSize, BlockSize)
				m.leg(1 - bad).reading.Add(-1)
				if got[100] != 7 {
					t.Errorf("it reads as %d", got[100])
				}
			}
			if n := m.Status().Legs[bad].ChecksumErrors; n != 1 {
				t.Errorf("leg %d is charged with %d", bad, n)
			}
			if got := get(t, legs[bad].Dev, at+100, 1); got[0] != 7 {
				t.Errorf("leg %d is not healed", bad)
			}
		}
		must(t, m.Close())
		wantSound(t, legs)
	}
}

// A block that rots in the ring of every leg is lost, and says so, also when it
// has left the ring, until it is written anew. The others are not.
func TestLostInTheRing(t *testing.T) {
	legs := ringed(t, 2, guard.CRC32C)
	m := open(t, legs, Options{Manual: true})
	put(t, m, 5*BlockSize, bytes.Repeat([]byte("old!"), BlockSize/4))
	batch(t, m, block(4, 4), block(5, 5), block(6, 6))
	must(t, m.Flush())
	v := m.ring.held(5*BlockSize, 1, nil)
	for _, l := range legs {
		put(t, l.Dev, m.ring.j.Pieces(&v[0], nil)[0].Off, []byte{1})
	}
	for _, do := range []func() error{func() error { return nil }, m.Checkpoint} {
		must(t, do())
		if _, err := m.ReadAt(make([]byte, 1), 5*BlockSize); !errors.Is(err, device.ErrGuard) {
			t.Errorf("the lost block: %v", err)
		}
		for _, b := range []int64{4, 6} {
			if got := get(t, m, b*BlockSize, 1); got[0] != byte(b) {
				t.Errorf("block %d reads as %d", b, got[0])
			}
		}
	}
	if s := m.Status().Journal; s.Lost != 1 || s.Blocks != 0 || s.Used != 0 {
		t.Errorf("%+v", s)
	}
	put(t, m, 5*BlockSize, make([]byte, BlockSize))
	get(t, m, 5*BlockSize, 1)
	must(t, m.Close())
	wantSound(t, legs)
}

// A journal that cannot be read whole keeps the pool from being opened, unless
// somebody does without; after a clean stop nothing was in it.
func TestUnreadableJournal(t *testing.T) {
	for _, c := range []struct {
		what   string
		clean  bool
		forced bool
		opens  bool
	}{
		{"closed", true, false, true},
		{"crashed", false, false, false},
		{"crashed, forced", false, true, true},
	} {
		legs := ringed(t, 2, guard.CRC32C)
		m := open(t, legs, Options{Manual: true})
		put(t, m, 5*BlockSize, []byte("old"))
		batch(t, m, block(6, 6))
		must(t, m.Flush())
		if c.clean {
			must(t, m.Close())
		}
		m.Abandon()
		a := m.geo.Areas[ondisk.AreaJournal]
		for _, l := range legs {
			put(t, l.Dev, a.Off, make([]byte, a.Len))
		}
		for range 2 {
			m, err := Open(legs, Options{Manual: true, WithoutJournal: c.forced})
			if (err == nil) != c.opens || err != nil && !errors.Is(err, ErrJournal) {
				t.Fatalf("%s: %v", c.what, err)
			}
			if err != nil {
				continue
			}
			if got := get(t, m, 5*BlockSize, 3); string(got) != "old" {
				t.Errorf("%s: read %q", c.what, got)
			}
			batch(t, m, block(7, 7))
			must(t, m.Close())
		}
	}
}

// failingOnce opens a mirror with a block in its journal, of which the next operation
// of a kind fails on every leg.
func failingOnce(t *testing.T, kind faultdev.Kind) (m *Mirror, legs []Leg) {
	t.Helper()
	legs = ringed(t, 2, guard.CRC32C)
	front, faults := faulty(legs)
	m = open(t, front, Options{Manual: true})
	batch(t, m, block(1, 1))
	must(t, m.Flush())
	for _, f := range faults {
		f.Add(faultdev.Rule{On: kind, Err: device.ErrIO})
	}
	return m, legs
}

// The journal breaks when a write of it, or a flush, fails on every leg: no flush
// is acknowledged before all is home, and none of it is lost.
func TestBrokenJournal(t *testing.T) {
	for _, kind := range []faultdev.Kind{faultdev.Write, faultdev.Flush} {
		m, legs := failingOnce(t, kind)
		_, err := m.WriteBatch([]device.Part{block(1, 2), block(2, 2)})
		if kind == faultdev.Flush {
			err = m.Flush()
		}
		if !errors.Is(err, device.ErrIO) || m.Status().Journal.Broken == "" {
			t.Fatalf("%v: %v, %+v", kind, err, m.Status().Journal)
		}
		if n, err := m.WriteBatch([]device.Part{block(3, 3)}); n != 0 || err != nil {
			t.Errorf("%v: the broken journal took %d, %v", kind, n, err)
		}
		put(t, m, 3*BlockSize, []byte{3})
		must(t, m.Flush())
		if s := m.Status().Journal; s.Broken != "" || s.Used != 0 {
			t.Errorf("%v: %+v", kind, s)
		}
		put(t, m, BlockSize, bytes.Repeat([]byte{9}, BlockSize))
		must(t, m.Flush())
		m.Abandon()
		m = open(t, legs, Options{Manual: true})
		if a, b := get(t, m, BlockSize, 1)[0], get(t, m, 3*BlockSize, 1)[0]; a != 9 || b != 3 {
			t.Errorf("%v: read %d and %d", kind, a, b)
		}
		resyncAll(m)
		must(t, m.Close())
		wantSound(t, legs)
	}
}

// What lies at home beneath a block of the ring counts for nothing, until a
// checkpoint has overwritten it: neither resync nor scrub makes anything of it.
func TestHomeBeneathTheRing(t *testing.T) {
	legs := ringed(t, 2, guard.CRC32C)
	m := open(t, legs, Options{Manual: true})
	put(t, m, 5*BlockSize, bytes.Repeat([]byte{1}, BlockSize))
	batch(t, m, block(5, 2))
	for i, l := range legs {
		put(t, l.Dev, m.geo.DataOff()+5*BlockSize, []byte{byte(7 + i)})
	}
	must(t, m.Scrub(ScrubOptions{}))
	first, last := m.regions.span(5*BlockSize, 1)
	m.regions.spoil(first, last, 0)
	resyncAll(m)
	s := m.Status()
	if s.Scrub.Bad != 0 || s.Scrub.Lost != 0 || s.Guards.Undecided != 0 || s.Legs[0].ChecksumErrors+s.Legs[1].ChecksumErrors != 0 {
		t.Errorf("%+v", s)
	}
	m.regions.spoil(first, last, 0)
	got := get(t, m, 4*BlockSize, 3*BlockSize) // mends what lies beside it
	if got[BlockSize] != 2 || m.Status().Guards.Undecided != 0 {
		t.Errorf("it reads as %d, %+v", got[BlockSize], m.Status().Guards)
	}
	must(t, m.Checkpoint())
	resyncAll(m)
	must(t, m.Close())
	wantSound(t, legs)
}

// Check tells what is in the journal, and what is wrong with it.
func TestCheckReadsTheJournal(t *testing.T) {
	legs := ringed(t, 2, guard.CRC32C)
	if r := wantSound(t, legs); len(r.Notes) != 0 {
		t.Errorf("notes of a new pool: %q", r.Notes)
	}
	m := open(t, legs, Options{Manual: true})
	batch(t, m, block(1, 1), block(9, 9))
	must(t, m.Flush())
	batch(t, m, block(3, 3))
	m.Abandon()
	if r := wantSound(t, legs); !slices.Contains(r.Notes, "3 blocks are in the journal, and what is in their places is older") {
		t.Errorf("notes: %q", r.Notes)
	}
	a := m.geo.Areas[ondisk.AreaJournal]
	for i, want := range []string{"a: journal: ", "journal: something that was flushed is lost"} {
		put(t, legs[i].Dev, a.Off+2*BlockSize, make([]byte, BlockSize))
		r, err := Check(legs)
		must(t, err)
		if !slices.ContainsFunc(r.Problems, func(p string) bool { return strings.HasPrefix(p, want) }) {
			t.Errorf("problems: %q", r.Problems)
		}
	}
}

// A leg that misses a transaction, or a header, is failed before anything relies on
// it, and the others go on.
func TestLegMissesTheRing(t *testing.T) {
	for _, missed := range []string{"transaction", "header"} {
		legs := ringed(t, 3, guard.CRC32C)
		front, faults := faulty(legs)
		m := open(t, front, Options{Manual: true})
		batch(t, m, block(1, 1))
		must(t, m.Flush())
		a := m.geo.Areas[ondisk.AreaJournal]
		faults[1].Add(faultdev.Rule{On: faultdev.Write, Off: a.Off, Len: a.Len, Err: device.ErrIO})
		if missed == "transaction" {
			batch(t, m, block(2, 2))
		} else {
			must(t, m.Checkpoint())
		}
		if state(m, 1) != Failed || state(m, 0) != InSync || state(m, 2) != InSync {
			t.Errorf("%s: legs are %v, %v and %v", missed, state(m, 0), state(m, 1), state(m, 2))
		}
		must(t, m.Flush())
		must(t, m.Attach(Leg{Name: "b"}, false))
		resyncAll(m)
		must(t, m.Close())
		wantSound(t, legs)
	}
}
