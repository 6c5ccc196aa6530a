package mirror

import (
	"bytes"
	"testing"

	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// A discard leaves a hole in the data and guards that know of zeros. A leg that is
// filled gets these too, though there is no data to copy: otherwise it would be
// charged with what it was never given.
func TestHolesHaveGuards(t *testing.T) {
	const size, region = 1 << 20, 64 << 10 // a region is a chunk of the devices
	legs := memLegs(2, LegSize(size))
	must(t, Format(legs, FormatOptions{Size: size, RegionSize: region, Guards: guard.CRC32C, Journal: NoJournal}))
	m := open(t, legs, Options{Manual: true})
	put(t, m, 3*region, bytes.Repeat([]byte{1}, region))
	must(t, m.Flush())
	must(t, m.Discard(3*region, region))
	must(t, m.Flush())
	for range 4 {
		must(t, m.Cycle())
	}
	if s := m.Status(); s.Regions.Clean != s.Regions.Total {
		t.Fatalf("not all clean: %+v", s.Regions)
	}
	must(t, m.Fail("b"))
	must(t, m.Replace("b", memLegs(1, LegSize(size))[0]))
	resyncAll(m)
	must(t, m.Close())
	given := []Leg{legs[0], {"c", m.leg(1).dev}}
	a := m.geo.Areas[ondisk.AreaGuards]
	if !bytes.Equal(get(t, given[0].Dev, a.Off, a.Len), get(t, given[1].Dev, a.Off, a.Len)) {
		t.Error("the guards differ")
	}
	m = open(t, given, Options{Manual: true})
	must(t, m.Scrub(ScrubOptions{}))
	get(t, m, 0, size)
	for _, l := range m.Status().Legs {
		if l.ChecksumErrors != 0 {
			t.Errorf("leg %s is charged with %d blocks", l.Name, l.ChecksumErrors)
		}
	}
	must(t, m.Close())
}
