package mirror

import (
	"testing"

	"holdfast.dev/holdfast/internal/guard"
)

func TestGeometry(t *testing.T) {
	for _, size := range []int64{4096, 4 << 20, 1 << 30, 1<<40 + 4096, maxDataSize} {
		leg := legSizeFor(size, 0)
		if got := dataFor(leg, 0); got < size || legSizeFor(got, 0) > leg {
			t.Errorf("a leg for %d bytes is %d, and that holds %d", size, leg, got)
		}
		if got := dataFor(leg-1, 0); got >= size {
			t.Errorf("a leg of %d bytes, too small for %d, holds %d", leg-1, size, got)
		}
		regionSize, err := pickRegionSize(0, size)
		if err != nil {
			t.Fatal(err)
		}
		g := newGeometry(size, regionSize, guard.None, 0)
		if g.regions() > maxRegions || regionSize > DefaultRegionSize && g.regions() <= maxRegions/2 {
			t.Errorf("%d bytes make %d regions of %d", size, g.regions(), regionSize)
		}
		if err := g.checkAreas(); err != nil {
			t.Error(err)
		}
	}
}
