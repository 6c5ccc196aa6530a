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
				t.Run(fmt.Sprintf("legs=%d,manual=%v,guards=%v", n, manual, kind), func(t *testing.T) {
					devicetest.Run(t, func(t *testing.T, size int64) device.Device {
						legs := memLegs(n, LegSize(size))
						must(t, Format(legs, FormatOptions{Size: size, RegionSize: testRegion, Guards: kind}))
						m := open(t, legs, Options{Manual: manual, Period: time.Millisecond})
						m.Start()
						return m
					}, devicetest.Multiple(BlockSize))
				})
			}
		}
	}
}
