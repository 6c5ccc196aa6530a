package mirror

import (
	"testing"

	"holdfast.dev/holdfast/device/faultdev"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// To open a pool takes as many reads however many regions it has.
func TestOpeningReadsNoMoreOfManyRegions(t *testing.T) {
	reads := func(regions int64) int {
		const size = BlockSize
		legs := memLegs(2, LegSize(regions*size))
		must(t, Format(legs, FormatOptions{Size: regions * size, RegionSize: size}))
		front, faults := faulty(legs)
		m := open(t, front, Options{Manual: true})
		defer m.Abandon()
		return faults[0].Count(faultdev.Read)
	}
	const fiveBlocks = 5 * ondisk.LogWords * 64 // what five blocks of the log have bits for
	few, many := reads(16), reads(fiveBlocks)
	if few != many {
		t.Errorf("16 regions take %d reads, %d take %d", few, fiveBlocks, many)
	}
}
