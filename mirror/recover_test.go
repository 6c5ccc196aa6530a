package mirror

import (
	"fmt"
	"testing"

	"holdfast.dev/holdfast/device/devicetest"
	"holdfast.dev/holdfast/device/powercut"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// A leg with one good superblock, whichever it is and whatever is wrong with
// the other, has a good one after a cut in any operation of an opening: the
// good one is not written first.
func TestTornUpdateLeavesACopy(t *testing.T) {
	r := devicetest.Rand(devicetest.Seed(t), 0)
	base := crashBases(t, guard.None, 18*BlockSize)[0]
	tail := ondisk.TailOffset(base[0].Size())
	for _, bad := range []struct {
		name  string
		at    int64
		older bool
	}{
		{"head broken", ondisk.HeadOffset, false}, {"tail broken", tail, false},
		{"head older", ondisk.HeadOffset, true}, {"tail older", tail, true},
	} {
		for range 40 {
			legs, disks := powered(base, r.Uint64(), powercut.Nothing)
			was := get(t, legs[0].Dev, bad.at, BlockSize)
			used(t, legs)
			if bad.older {
				put(t, legs[0].Dev, bad.at, was)
			} else {
				wipe(t, legs[0].Dev, bad.at)
			}
			must(t, legs[0].Dev.Flush())
			newest := ondisk.ReadCopies(legs[0].Dev)
			for n := 1; n <= 4; n++ {
				legs, again := powered(disks, r.Uint64(), powercut.Nothing)
				again[0].Supply().CutAfter(n)
				if m, err := Open(legs, Options{Manual: true}); err == nil {
					m.Abandon()
				}
				legs, _ = powered(again, r.Uint64(), powercut.Sectors)
				left := ondisk.ReadCopies(legs[0].Dev)
				if sb := left.Best(); sb == nil || sb.Generation < newest.Best().Generation {
					t.Fatalf("%s, cut in operation %d: the newest superblock is gone", bad.name, n)
				}
			}
		}
	}
}

// A bit that only one leg's log has is on all of them once the pool is open.
func TestUnionIsWrittenBack(t *testing.T) {
	legs := formatted(t, 3)
	all, _ := identify(legs)
	g := &all[1].sb.Geometry
	b := make([]byte, BlockSize)
	ondisk.EncodeLogBlock(b, all[1].sb.Pool, 0, 3, &ondisk.LogBits{1 << 6})
	put(t, legs[1].Dev, g.LogOff()+ondisk.LogSlotOffset(0, 3), b)
	m := open(t, legs, Options{Manual: true})
	put(t, m, 6*testRegion, []byte("x"))
	for _, l := range legs {
		if got := fmt.Sprint(dirtyOnDisk(t, []Leg{l})); got != "[6]" {
			t.Errorf("leg %s has bits %s, want [6]", l.Name, got)
		}
	}
}

// A superblock keeps what this program does not know.
func TestUnknownBytesAreKept(t *testing.T) {
	legs := formatted(t, 1)
	resealBoth(t, legs[0], func(b []byte) { b[16], b[3000] = 0x80, 0x77 })
	used(t, legs)
	for _, at := range []int64{ondisk.HeadOffset, ondisk.TailOffset(legs[0].Dev.Size())} {
		if b := get(t, legs[0].Dev, at, BlockSize); b[16] != 0x80 || b[3000] != 0x77 {
			t.Errorf("superblock at %d lost bytes: %x, %x", at, b[16], b[3000])
		}
	}
}

// When the newest write of a log block is torn on every leg at once, the other
// slot has all bits but those of that write.
func TestTornLogOnEveryLeg(t *testing.T) {
	legs := formatted(t, 2)
	m := open(t, legs, Options{Manual: true})
	for region := range int64(5) {
		put(t, m, region*testRegion, []byte("x"))
		for i, l := range legs {
			old := copyOf(t, l)
			wipe(t, old.Dev, m.geo.LogOff()+ondisk.LogSlotOffset(0, m.leg(i).seq[0]))
			want := []int{0, 1, 2, 3, 4}[:region]
			if got := dirtyOnDisk(t, []Leg{old}); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("after region %d: leg %s has bits %v in its older slot, want %v", region, l.Name, got, want)
			}
		}
	}
}
