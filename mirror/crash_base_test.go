package mirror

import (
	"fmt"
	"testing"

	"holdfast.dev/holdfast/device/powercut"
	"holdfast.dev/holdfast/internal/guard"
)

// bases are disks that are closed pools, by their number less one.
type bases [MaxLegs][]*powercut.Disk

// allBases returns crashBases of every kind of guard and every journal.
func allBases(t *testing.T) (all []bases) {
	for kind := range 3 {
		for _, ring := range crashRings {
			all = append(all, crashBases(t, guard.Kind(kind), ring))
		}
	}
	return all
}

func crashBases(t *testing.T, guards guard.Kind, ring int64) (bases bases) {
	for n := 1; n <= MaxLegs; n++ {
		supply := new(powercut.Supply)
		var legs []Leg
		for i := range n {
			d := supply.NewDisk(fmt.Sprint(i), LegSize(crashData))
			bases[n-1] = append(bases[n-1], d)
			legs = append(legs, Leg{d.Name(), kept{d}})
		}
		must(t, Format(legs, FormatOptions{Size: crashData, RegionSize: crashRegion, Guards: guards, Journal: ring}))
		m := open(t, legs, Options{Manual: true})
		for m.ResyncStep() {
		}
		must(t, m.Close())
	}
	return bases
}
