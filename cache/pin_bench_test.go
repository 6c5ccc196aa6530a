package cache

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkPin pins a page to read, looks at a byte of it or not, and lets go:
// always the same page, or one of 256 MiB, where to look is to miss every cache.
func BenchmarkPin(b *testing.B) {
	const pages = 65536
	c, err := New(Options{Budget: 2 * pages * PageSize, Manual: true, Log: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Abandon()
	m, err := c.Map(newStore(pages), MappingOptions{})
	if err != nil {
		b.Fatal(err)
	}
	h, err := m.Open()
	if err != nil {
		b.Fatal(err)
	}
	if _, err := h.WriteAt(fill(pages*PageSize, 1), 0); err != nil {
		b.Fatal(err)
	}
	sum := byte(0)
	for _, of := range []int64{1, pages} {
		for _, look := range []bool{false, true} {
			b.Run(fmt.Sprintf("of=%d/look=%v", of, look), func(b *testing.B) {
				r := rand.New(rand.NewPCG(1, 2))
				for b.Loop() {
					p, err := h.Pin(r.Int64N(of)*PageSize, PageSize, PinRead)
					if err != nil {
						b.Fatal(err)
					}
					if look {
						sum += p.Bytes()[0]
					}
					p.Release()
				}
			})
		}
	}
}
