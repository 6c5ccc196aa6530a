package mirror

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/faultdev"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// apart returns two legs that were in use at a crash, with different bytes in
// regions 2 and 3: all ones on a, all twos on b.
func apart(t *testing.T) []Leg {
	t.Helper()
	legs := formatted(t, 2)
	m := open(t, legs, Options{Manual: true})
	put(t, m, 2*testRegion, make([]byte, 2*testRegion))
	m.Abandon()
	for i, l := range legs {
		put(t, l.Dev, m.geo.DataOff()+2*testRegion, bytes.Repeat([]byte{byte(i + 1)}, 2*testRegion))
	}
	return legs
}

// dataRule is a rule for a range of the data area.
func dataRule(r faultdev.Rule, off, n int64) faultdev.Rule {
	g := ondisk.NewGeometry(testData, testRegion, guard.None, 0)
	r.Off, r.Len = g.DataOff()+off, n
	return r
}

// Resync copies just what the legs do not have in common, from the source of
// each region, and no more than the regions that await it (H3, H4).
func TestResync(t *testing.T) {
	legs := apart(t)
	m := open(t, legs, Options{Manual: true})
	var extents []device.Extent
	must(t, m.Extents(0, testData, func(e device.Extent) bool {
		extents = append(extents, e)
		return true
	}))
	if got := fmt.Sprint(extents); got != "[{0 32768 false} {32768 16384 false} {49152 16384 false} {65536 196608 true}]" {
		t.Errorf("extents are %s", got)
	}
	steps := 0
	for m.ResyncStep() {
		steps++
	}
	want := ResyncStatus{RegionsDone: 2, BytesRead: 4 * testRegion, BytesWritten: 2 * testRegion, BlocksDiffered: 2 * testRegion / BlockSize}
	if got := m.Status().Resync; got != want || steps != 2 {
		t.Errorf("after %d steps: %+v, want %+v", steps, got, want)
	}
	wantEqual(t, legs)
	if got := get(t, m, 2*testRegion, 1); got[0] != 1 {
		t.Errorf("after resync the region reads as %d", got[0])
	}
	must(t, m.Close())
	wantSound(t, legs)
}

func wantEqual(t *testing.T, legs []Leg) {
	t.Helper()
	if !bytes.Equal(dataOf(t, legs[0]), dataOf(t, legs[1])) {
		t.Error("the legs differ")
	}
}

// While a region awaits resync what is read of it, from any offset, is made
// equal on all legs first (H2).
func TestReadsMakeEqual(t *testing.T) {
	legs := apart(t)
	m := open(t, legs, Options{Manual: true})
	for off := int64(2 * testRegion); off < 4*testRegion; off += 1000 {
		if got := get(t, m, off, 1); got[0] != 1 {
			t.Fatalf("byte %d reads as %d before resync", off, got[0])
		}
	}
	wantEqual(t, legs)
	if got := get(t, m, 0, testData); !bytes.Equal(got, dataOf(t, legs[0])) {
		t.Fatal("a read across all regions is not what the source holds")
	}
	before := m.Status().Resync.BytesWritten
	for m.ResyncStep() {
	}
	if got := m.Status().Resync; got.RegionsDone != 2 || before != 2*testRegion || got.BytesWritten != before {
		t.Errorf("resync after the reads, which wrote %d bytes: %+v", before, got)
	}
}

// What was read of a block whose source could not be read stays what is read of
// it, when the source can be read again, and after resync. Two legs that cannot
// be read at different blocks make a whole one (H2).
func TestSourceCannotBeRead(t *testing.T) {
	front, faults := faulty(apart(t))
	m := open(t, front, Options{Manual: true})
	faults[0].Add(dataRule(faultdev.Rule{On: faultdev.Read, Err: device.ErrIO, Nth: 1, Forever: true}, 2*testRegion, 512))
	faults[1].Add(dataRule(faultdev.Rule{On: faultdev.Read, Err: device.ErrIO, Nth: 1, Forever: true}, 2*testRegion+BlockSize, 512))
	want := append(bytes.Repeat([]byte{2}, BlockSize), bytes.Repeat([]byte{1}, testRegion-BlockSize)...)
	for range 2 {
		if got := get(t, m, 2*testRegion, testRegion); !bytes.Equal(got, want) {
			t.Errorf("read %d, %d", got[0], got[BlockSize])
		}
	}
	for _, f := range faults {
		f.Heal()
	}
	for m.ResyncStep() {
	}
	if got := get(t, m, 2*testRegion, testRegion); !bytes.Equal(got, want) {
		t.Errorf("after resync: %d, %d", got[0], got[BlockSize])
	}
	if got := get(t, m, 3*testRegion, 1); got[0] != 1 {
		t.Errorf("another region reads as %d", got[0])
	}
}

// A source that fails as a leg gives way too.
func TestSourceFails(t *testing.T) {
	front, faults := faulty(apart(t))
	m := open(t, front, Options{Manual: true})
	faults[0].Add(faultdev.Rule{On: faultdev.Any, Forever: true, Err: device.ErrIO})
	put(t, m, 0, []byte("x"))
	if got := get(t, m, 2*testRegion, 1); got[0] != 2 {
		t.Errorf("read %d", got[0])
	}
	for m.ResyncStep() {
	}
	if s := m.Status(); s.Resync.RegionsLeft != 0 || s.Regions.Clean != 13 {
		t.Errorf("status is %+v", s)
	}
}

// Regions that cannot be resynced stay, do not keep the others from being, and
// are tried again in the next pass.
func TestResyncOfUnreadable(t *testing.T) {
	front, faults := faulty(apart(t))
	m := open(t, front, Options{Manual: true})
	for _, f := range faults {
		f.Add(dataRule(faultdev.Rule{On: faultdev.Read, Forever: true, Err: device.ErrIO}, 2*testRegion, 512))
	}
	for m.ResyncStep() {
	}
	if s := m.Status().Resync; s.RegionsLeft != 1 || s.RegionsDone != 1 {
		t.Errorf("status is %+v", s)
	}
	must(t, m.Close())
	for _, f := range faults {
		f.Heal()
	}
	m = open(t, front, Options{Manual: true})
	for m.ResyncStep() {
	}
	if s := m.Status().Resync; s.RegionsLeft != 0 || s.RegionsDone != 1 {
		t.Errorf("after the devices were healed: %+v", s)
	}
}

// A region that goes wrong while it is being resynced is done again.
func TestResyncDoneAgain(t *testing.T) {
	m := open(t, apart(t), Options{Manual: true})
	m.regions.resyncBegin(2)
	m.regions.spoil(2, 2, 0)
	if m.regions.resyncEnd(2) {
		t.Error("the region counts as resynced")
	}
	m.regions.resyncBegin(2)
	if !m.regions.resyncEnd(2) {
		t.Error("the region does not count as resynced")
	}
}

// A write that comes while its range is compared waits, so that resync never
// puts older bytes over it.
func TestWriteDuringResync(t *testing.T) {
	legs := apart(t)
	front, faults := faulty(legs)
	m := open(t, front, Options{})
	held := faults[1].Add(dataRule(faultdev.Rule{On: faultdev.Read, Hang: true}, 2*testRegion, testRegion))
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for m.ResyncStep() {
		}
	})
	<-held.Reached()
	tasks.Go(func() {
		if _, err := m.WriteAt([]byte("during"), 2*testRegion+100); err != nil {
			t.Error(err)
		}
	})
	time.Sleep(10 * time.Millisecond) // lets a write that does not wait pass
	held.Release()
	tasks.Wait()
	if a, b := dataOf(t, legs[0]), dataOf(t, legs[1]); !bytes.Equal(a, b) || string(a[2*testRegion+100:][:6]) != "during" {
		t.Error("the legs differ, or have not what was written")
	}
}

// A hole in a region that awaits resync may be data on another leg.
func TestExtentsOfAwaiting(t *testing.T) {
	m := open(t, formatted(t, 2), Options{Manual: true})
	m.regions.begin(8, 8)
	m.regions.spoil(8, 8, 0)
	m.regions.end(8, 8)
	must(t, m.Extents(8*testRegion+10, 20, func(e device.Extent) bool {
		if e != (device.Extent{Off: 8*testRegion + 10, Len: 20}) {
			t.Errorf("extent is %+v", e)
		}
		return true
	}))
}

// Legs that hold data when they are formatted are made equal.
func TestFormatOverData(t *testing.T) {
	legs := memLegs(2, LegSize(testData))
	g := ondisk.NewGeometry(testData, testRegion, guard.None, 0)
	put(t, legs[1].Dev, g.DataOff()+5*testRegion, []byte("leftover"))
	must(t, Format(legs, FormatOptions{Size: testData, RegionSize: testRegion}))
	m := open(t, legs, Options{Manual: true})
	for m.ResyncStep() {
	}
	must(t, m.Close())
	wantSound(t, legs)
	if got := dataOf(t, legs[1]); !bytes.Equal(got, make([]byte, testData)) {
		t.Error("the second leg was not made like the first")
	}
}

// Check finds a byte that differs where no bit is set, and says where.
func TestCheckFindsDifference(t *testing.T) {
	legs := formatted(t, 3)
	used(t, legs)
	g := ondisk.NewGeometry(testData, testRegion, guard.None, 0)
	put(t, legs[2].Dev, g.DataOff()+7*testRegion+5, []byte{1})
	r, err := Check(legs)
	must(t, err)
	if got := fmt.Sprint(r.Problems); r.Sound() || got != "[a and c differ in 4096 bytes at 114688 of the data]" {
		t.Errorf("problems are %s", got)
	}
	r, err = Check(apart(t))
	must(t, err)
	if !r.Sound() || r.DirtyRegions != 2 {
		t.Errorf("legs that differ in dirty regions: %+v", r)
	}
}
