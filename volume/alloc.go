package volume

import (
	"cmp"
	"fmt"
	"slices"
)

// CheckName returns an error that wraps ErrInvalid unless name can name a
// volume: 1 to 64 of the characters A-Z a-z 0-9 . _ -, beginning with neither a
// dot nor a dash, so that it is safe as a file name, an option and part of a URI.
func CheckName(name string) error {
	if name == "" || len(name) > MaxName {
		return fmt.Errorf("%w: a volume's name has 1 to %d characters, %q has %d", ErrInvalid, MaxName, name, len(name))
	}
	for i, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_':
		case (c == '.' || c == '-') && i > 0:
		default:
			return fmt.Errorf("%w: %q as a volume's name: use A-Z a-z 0-9 . _ -, and begin with none of . -", ErrInvalid, name)
		}
	}
	return nil
}

func checkSize(size int64) error {
	if size <= 0 || size%BlockSize != 0 {
		return fmt.Errorf("%w: a volume's size is a multiple of %d bytes above zero, not %d", ErrInvalid, BlockSize, size)
	}
	return nil
}

// allocate finds room for size bytes in a pool of the given size beside the
// extents in use: the lowest gaps first, each cut to begin on ExtentAlign.
func allocate(used []extent, pool, size int64) ([]extent, error) {
	used = slices.Clone(used)
	slices.SortFunc(used, func(a, b extent) int { return cmp.Compare(a.pool, b.pool) })
	var got []extent
	done := int64(0)
	take := func(begin, end int64) {
		if n := min(end-begin, size-done) / BlockSize * BlockSize; n > 0 {
			got = append(got, extent{vol: done, pool: begin, length: n})
			done += n
		}
	}
	begin := int64(TableSize)
	for _, e := range used {
		take(begin, e.pool)
		begin = alignUp(e.pool + e.length)
	}
	take(begin, pool)
	if done < size {
		return nil, fmt.Errorf("%w: the pool has %d bytes free, a volume of %d was asked for", ErrNoSpace, done, size)
	}
	if len(got) > MaxExtents {
		return nil, fmt.Errorf("%w: the pool's free space is in too many pieces (%d, the limit is %d)", ErrNoSpace, len(got), MaxExtents)
	}
	return got, nil
}

func alignUp(n int64) int64 { return (n + ExtentAlign - 1) / ExtentAlign * ExtentAlign }

// PoolSize is the smallest pool, in bytes, that holds the table and one volume
// of the given size.
func PoolSize(size int64) int64 { return TableSize + size }
