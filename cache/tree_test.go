package cache

import (
	"testing"

	"pgregory.net/rapid"
)

// The tree against a map, around the borders of words, chunks and summaries.
func TestTreeAgainstAMap(t *testing.T) {
	const pages = 70 * chunkPages // more than one word of top summary
	place := rapid.Custom(func(t *rapid.T) int64 {
		base := rapid.SampledFrom([]int64{0, 64, 4096, chunkPages, 2 * chunkPages, 64 * chunkPages, pages}).Draw(t, "base")
		return min(pages-1, max(0, base+rapid.Int64Range(-70, 70).Draw(t, "delta")))
	})
	rapid.Check(t, func(t *rapid.T) {
		tr, dst := newTree(pages), newTree(pages)
		model, copied := map[int64]bool{}, map[int64]bool{}
		next := func(n, end int64) (int64, bool) {
			best, ok := int64(0), false
			for m := range model {
				if m >= n && m < end && (!ok || m < best) {
					best, ok = m, true
				}
			}
			return best, ok
		}
		t.Repeat(map[string]func(*rapid.T){
			"set":   func(t *rapid.T) { n := place.Draw(t, "n"); tr.set(n); model[n] = true },
			"clear": func(t *rapid.T) { n := place.Draw(t, "n"); tr.clear(n); delete(model, n) },
			"reset": func(t *rapid.T) { tr.reset(); clear(model) },
			"add": func(t *rapid.T) {
				n, end := place.Draw(t, "n"), place.Draw(t, "end")
				tr.addTo(dst, n, end)
				for m := range model {
					if m >= n && m < end {
						copied[m] = true
					}
				}
			},
			"": func(t *rapid.T) {
				n, end := place.Draw(t, "n"), place.Draw(t, "end")+1
				got, ok := tr.next(n, end)
				want, wok := next(n, end)
				if ok != wok || ok && got != want {
					t.Fatalf("next(%d, %d) = %d %v, want %d %v", n, end, got, ok, want, wok)
				}
				if tr.has(n) != model[n] || tr.count.Load() != int64(len(model)) {
					t.Fatalf("has(%d) = %v, %d members of %d", n, tr.has(n), tr.count.Load(), len(model))
				}
				for m := range copied {
					if !dst.has(m) {
						t.Fatalf("%d was not added", m)
					}
				}
				if dst.count.Load() != int64(len(copied)) {
					t.Fatalf("%d were added, want %d", dst.count.Load(), len(copied))
				}
			},
		})
	})
}

func TestSectorMasks(t *testing.T) {
	for a := range PageSize {
		for _, b := range []int{a + 1, a + 511, a + 512, a + 513, PageSize} {
			if b <= a || b > PageSize {
				continue
			}
			var touched, partial uint8
			for s := range sectorsPerPage {
				lo, hi := s*512, s*512+512
				if a < hi && b > lo {
					touched |= 1 << s
					if a > lo || b < hi {
						partial |= 1 << s
					}
				}
			}
			if got := sectorMask(a, b); got != touched {
				t.Fatalf("sectorMask(%d, %d) = %08b, want %08b", a, b, got, touched)
			}
			if got := partialSectors(a, b); got != partial {
				t.Fatalf("partialSectors(%d, %d) = %08b, want %08b", a, b, got, partial)
			}
		}
	}
}
