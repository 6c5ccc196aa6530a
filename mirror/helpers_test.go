package mirror

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// Small pools: 16 regions of 16 KiB.
const (
	testRegion = 16 << 10
	testData   = 16 * testRegion
)

// kept is a device that survives its Close, as a disk survives a program.
type kept struct{ device.Device }

func (kept) Close() error { return nil }

func (k kept) Extents(off, n int64, yield func(device.Extent) bool) error {
	return device.Extents(k.Device, off, n, yield)
}

func memLegs(n int, size int64) []Leg {
	legs := make([]Leg, n)
	for i := range legs {
		legs[i] = Leg{Name: string(rune('a' + i)), Dev: kept{device.NewMem(size)}}
	}
	return legs
}

// formatted returns n legs in memory that are a small pool.
func formatted(t testing.TB, n int) []Leg {
	t.Helper()
	legs := memLegs(n, LegSize(testData))
	must(t, Format(legs, FormatOptions{Size: testData, RegionSize: testRegion}))
	return legs
}

func open(t testing.TB, legs []Leg, o Options) *Mirror {
	t.Helper()
	m, err := Open(legs, o)
	must(t, err)
	t.Cleanup(m.Abandon)
	return m
}

// logged returns options for a manual pool that logs into the buffer.
func logged(b *bytes.Buffer) Options {
	return Options{Manual: true, Log: slog.New(slog.NewTextHandler(b, nil))}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, d device.Device, off int64, p []byte) {
	t.Helper()
	_, err := d.WriteAt(p, off)
	must(t, err)
}

func get(t testing.TB, d device.Device, off, n int64) []byte {
	t.Helper()
	p := make([]byte, n)
	_, err := d.ReadAt(p, off)
	must(t, err)
	return p
}

func noise(r *rand.Rand, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// dataOf returns a leg's data area.
func dataOf(t testing.TB, l Leg) []byte {
	t.Helper()
	c := ondisk.ReadCopies(l.Dev)
	sb := c.Best()
	if sb == nil {
		t.Fatal(c.Err())
	}
	return get(t, l.Dev, sb.Geometry.DataOff(), sb.Geometry.DataSize)
}

// wantSound checks the legs of a closed pool.
func wantSound(t testing.TB, legs []Leg) Report {
	t.Helper()
	r, err := Check(legs)
	must(t, err)
	if !r.Sound() {
		t.Fatalf("not sound: %q", r.Problems)
	}
	return r
}

// dirtyOnDisk returns the regions whose bit is set on any of the legs.
func dirtyOnDisk(t testing.TB, legs []Leg) []int {
	t.Helper()
	all, errs := identify(legs)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	g := &all[0].sb.Geometry
	bits := make([]uint64, ondisk.LogBlocks(g.Regions())*ondisk.LogWords)
	for _, f := range all {
		l := &leg{dev: f.Dev, sb: *f.sb}
		if lost := l.readLog(g, bits); len(lost) > 0 {
			t.Fatalf("log blocks %v of %s cannot be read", lost, f.Name)
		}
	}
	set := []int{}
	for i := nextBit(bits, 0); i >= 0; i = nextBit(bits, i+1) {
		set = append(set, i)
	}
	return set
}
