package mirror

import (
	"fmt"
	"testing"
	"time"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/devicetest"
	"holdfast.dev/holdfast/internal/guard"
)

func TestConformance(t *testing.T) {
	for n := 1; n <= MaxLegs; n++ {
		for _, manual := range []bool{false, true} {
			if manual && n != 2 {
				continue
			}
			for kind := guard.None; kind <= guard.T10DIF; kind++ {
				conform(t, n, FormatOptions{RegionSize: testRegion, Guards: kind}, Options{Manual: manual, Period: time.Millisecond})
			}
		}
	}
	for _, kind := range []guard.Kind{guard.None, guard.CRC32C} {
		conform(t, 2, FormatOptions{RegionSize: testRegion, Guards: kind, Journal: 42 * BlockSize}, Options{Period: time.Millisecond, Journal: JournalAlways})
	}
}

func conform(t *testing.T, n int, f FormatOptions, o Options) {
	t.Run(fmt.Sprintf("legs=%d,manual=%v,guards=%v,journal=%v", n, o.Manual, f.Guards, o.Journal), func(t *testing.T) {
		devicetest.Run(t, func(t *testing.T, size int64) device.Device {
			legs := memLegs(n, LegSize(size))
			f.Size = size
			must(t, Format(legs, f))
			m := open(t, legs, o)
			m.Start()
			return m
		}, devicetest.Multiple(BlockSize))
	})
}
