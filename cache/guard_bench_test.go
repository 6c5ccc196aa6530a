package cache

import (
	"fmt"
	"testing"
)

// guardBench is a cache of 32 MiB with all of it in memory.
func guardBench(b *testing.B, unguarded bool) *Handle {
	const pages = 8192
	c, err := New(Options{Manual: true, Budget: 64 << 20, DirtyLimit: 48 << 20, Unguarded: unguarded})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Abandon() })
	m, err := c.Map(newStore(pages), MappingOptions{Name: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	h, err := m.Open()
	if err != nil {
		b.Fatal(err)
	}
	for n := range int64(pages) {
		if _, err := h.WriteAt(zeros[:], n*PageSize); err != nil {
			b.Fatal(err)
		}
	}
	return h
}

// eachWay runs f with guards and without.
func eachWay(b *testing.B, name string, f func(b *testing.B, h *Handle)) {
	for _, unguarded := range []bool{false, true} {
		b.Run(fmt.Sprintf("%s/guards=%v", name, !unguarded), func(b *testing.B) {
			b.ReportAllocs()
			f(b, guardBench(b, unguarded))
		})
	}
}

// What guards cost a write to a page in memory.
func BenchmarkGuardedWrite(b *testing.B) {
	for _, size := range []int64{512, 4096} {
		eachWay(b, fmt.Sprint(size), func(b *testing.B, h *Handle) {
			p := make([]byte, size)
			b.SetBytes(size)
			n := int64(0)
			for b.Loop() {
				n = (n*1664525 + 1013904223) % 8192
				if _, err := h.WriteAt(p, n*PageSize+PageSize-size); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What they cost a fill of 256 KiB, from a backing that is memory.
func BenchmarkGuardedFill(b *testing.B) {
	const size = 64 * PageSize
	eachWay(b, "256K", func(b *testing.B, h *Handle) {
		if err := h.Sync(); err != nil {
			b.Fatal(err)
		}
		p := make([]byte, size)
		b.SetBytes(size)
		for b.Loop() {
			if _, err := h.ReadAt(p, 0); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			h.m.c.evict(8192)
			b.StartTimer()
		}
	})
}

// What they cost a write-out of 1 MiB with its flush, to such a backing.
func BenchmarkGuardedSync(b *testing.B) {
	const size = runPages * PageSize
	eachWay(b, "1M", func(b *testing.B, h *Handle) {
		if err := h.Sync(); err != nil {
			b.Fatal(err)
		}
		p := make([]byte, size)
		b.SetBytes(size)
		for b.Loop() {
			b.StopTimer()
			if _, err := h.WriteAt(p, 0); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			if err := h.SyncRange(0, size); err != nil {
				b.Fatal(err)
			}
		}
	})
}
