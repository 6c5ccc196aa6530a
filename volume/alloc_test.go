package volume

import (
	"errors"
	"testing"

	"pgregory.net/rapid"
)

// Whatever is in use, what is allocated is free, aligned, of the size asked for,
// and taken from the lowest gaps; and it is refused only if there is not enough.
func TestAllocateTakesLowestFreeSpace(t *testing.T) {
	const units = 40 // MiB of pool behind the table
	rapid.Check(t, func(t *rapid.T) {
		pool := int64(TableSize+units*ExtentAlign) - BlockSize*rapid.Int64Range(0, 3).Draw(t, "ragged end")
		var used []extent
		for i := int64(0); i < units; i++ {
			if rapid.Bool().Draw(t, "used") {
				n := min(BlockSize*rapid.Int64Range(1, ExtentAlign/BlockSize).Draw(t, "blocks"), pool-TableSize-i*ExtentAlign)
				used = append(used, extent{pool: TableSize + i*ExtentAlign, length: n})
			}
		}
		used = rapid.Permutation(used).Draw(t, "order")
		size := BlockSize * rapid.Int64Range(1, units*ExtentAlign/BlockSize).Draw(t, "size")
		got, err := allocate(used, pool, size)
		free := make([]bool, pool/BlockSize)
		for i := TableSize / BlockSize; i < len(free); i++ {
			free[i] = true
		}
		for _, e := range used {
			// The rest of the last MiB of an extent is nobody's, but cannot begin another.
			for i := e.pool / BlockSize; i < min(alignUp(e.pool+e.length), pool)/BlockSize; i++ {
				free[i] = false
			}
		}
		total := int64(0)
		for _, f := range free {
			if f {
				total += BlockSize
			}
		}
		if total < size {
			if !errors.Is(err, ErrNoSpace) {
				t.Fatalf("%d bytes from %d free: %v", size, total, err)
			}
			return
		}
		if err != nil {
			t.Fatalf("%d bytes from %d free: %v", size, total, err)
		}
		last := int64(0)
		for _, e := range got {
			last = e.pool + e.length
			for i := e.pool / BlockSize; i < last/BlockSize; i++ {
				if !free[i] {
					t.Fatalf("block %d is taken twice by %v", i, got)
				}
				free[i] = false
			}
		}
		for i := range last / BlockSize {
			if free[i] {
				t.Fatalf("block %d is free and below %v", i, got)
			}
		}
		if err := (&record{name: "v", size: size, extents: got}).check(pool); err != nil {
			t.Fatal(err)
		}
	})
}
