package interop

import (
	"slices"
	"testing"
)

// The ledger decides whether a crash was survived, so it is shown to refuse
// what a crash must not do and to allow what it may.
func TestLedger(t *testing.T) {
	sector := func(version uint64) []byte { return encode(7, version, sectorSize) }
	mixed := slices.Concat(sector(2)[:256], sector(3)[256:])
	for _, c := range []struct {
		name  string
		found []byte
		sound bool
	}{
		{"what the flush covered", sector(2), true},
		{"what was acknowledged after it", sector(3), true},
		{"zeros that were never acknowledged", make([]byte, sectorSize), true},
		{"older than the flush", sector(1), false},
		{"never sent", sector(5), false},
		{"a mix", mixed, false},
		{"another cell's", encode(8, 2, sectorSize), false},
	} {
		l := newLedger(pageSize * 8)
		write := func(zero bool) {
			l.issue(7, 8, zero)
			l.acknowledge(7, 8, false)
		}
		write(false)
		write(false)
		covered := l.written()
		write(false)
		l.flushed(covered)
		l.issue(7, 8, true)
		if err := l.verify(7, c.found); (err == nil) != c.sound {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// What was read after one crash is what must be there from then on, and the
// numbers of what was lost are not used again.
func TestLedgerAfterRecovery(t *testing.T) {
	l := newLedger(pageSize * 8)
	for range 3 {
		l.issue(7, 8, false)
		l.acknowledge(7, 8, false)
	}
	second := encode(7, 2, sectorSize)
	if err := l.verify(7, second); err != nil {
		t.Fatal(err)
	}
	if l.verify(7, encode(7, 3, sectorSize)) == nil {
		t.Error("a version that was lost came back and was not noticed")
	}
	if err := l.verify(7, second); err != nil {
		t.Error(err)
	}
	if got := l.issue(7, 8, false); !slices.Equal(got, encode(7, 4, sectorSize)) {
		t.Error("a version number was used twice")
	}
	l.acknowledge(7, 8, true)
	if l.verify(7, second) == nil {
		t.Error("a version older than a FUA write was not noticed")
	}
}
