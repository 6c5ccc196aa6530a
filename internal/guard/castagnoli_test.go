package guard

import (
	"hash/crc32"
	"testing"

	"pgregory.net/rapid"
)

// Whatever the length, the place in memory, and what came before, it is what package
// hash/crc32 computes.
func TestCastagnoliAgainstStandard(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := append(randomBlock(rapid.Uint64().Draw(t, "seed")), randomBlock(rapid.Uint64().Draw(t, "more"))...)
		off := rapid.IntRange(0, 100).Draw(t, "off")
		n := rapid.IntRange(0, len(data)-off).Draw(t, "n")
		before := rapid.Uint32().Draw(t, "before")
		p := data[off : off+n]
		if got, want := castagnoliUpdate(before, p), crc32.Update(before, castagnoli, p); got != want {
			t.Fatalf("%d bytes: %#08x, want %#08x", n, got, want)
		}
	})
}

// BenchmarkSum is one block: as it is computed here, and by package hash/crc32.
func BenchmarkSum(b *testing.B) {
	block := randomBlock(1)
	for name, sum := range map[string]func([]byte) uint32{
		"ours":     Sum,
		"standard": func(p []byte) uint32 { return crc32.Checksum(p, castagnoli) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(block)))
			for b.Loop() {
				sum(block)
			}
		})
	}
}
