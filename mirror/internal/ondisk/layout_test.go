package ondisk

import (
	"testing"

	"holdfast.dev/holdfast/internal/guard"
)

func TestGeometry(t *testing.T) {
	for _, size := range []int64{4096, 4 << 20, 1 << 30, 1<<40 + 4096, MaxDataSize} {
		leg := LegSize(size, 0)
		if got := DataFor(leg, 0); got < size || LegSize(got, 0) > leg {
			t.Errorf("a leg for %d bytes is %d, and that holds %d", size, leg, got)
		}
		if got := DataFor(leg-1, 0); got >= size {
			t.Errorf("a leg of %d bytes, too small for %d, holds %d", leg-1, size, got)
		}
		regionSize, err := PickRegionSize(0, size)
		if err != nil {
			t.Fatal(err)
		}
		g := NewGeometry(size, regionSize, guard.None, 0)
		if g.Regions() > maxRegions || regionSize > DefaultRegionSize && g.Regions() <= maxRegions/2 {
			t.Errorf("%d bytes make %d regions of %d", size, g.Regions(), regionSize)
		}
		if err := g.checkAreas(); err != nil {
			t.Error(err)
		}
	}
}
