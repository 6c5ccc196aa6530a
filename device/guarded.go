package device

import (
	"fmt"

	"holdfast.dev/holdfast/internal/guard"
)

// Guarded is implemented by devices that check what they are handed, or keep the
// sums that come with it.
type Guarded interface {
	// WriteGuarded is WriteAt of whole blocks of 4096 bytes at a multiple of that;
	// sums has the CRC-32C of each. If a block does not fit its sum the error wraps
	// ErrGuard, and nothing of that block was written: it changed in memory since
	// the sum was taken.
	WriteGuarded(p []byte, off int64, sums []uint32) error
}

// WriteGuarded writes p, whose blocks have the given sums, to d: by its own
// means if d is Guarded, otherwise the blocks are checked and then written.
func WriteGuarded(d Device, p []byte, off int64, sums []uint32) error {
	if g, ok := d.(Guarded); ok {
		return g.WriteGuarded(p, off, sums)
	}
	if err := CheckGuards(p, off, sums); err != nil {
		return err
	}
	_, err := d.WriteAt(p, off)
	return err
}

// CheckGuards returns an error that wraps ErrGuard unless each block of p fits
// its sum. It is an *OpError with the place of the first that does not: off is
// the place of p.
func CheckGuards(p []byte, off int64, sums []uint32) error {
	if off%guard.BlockSize != 0 || len(p) != len(sums)*guard.BlockSize {
		return misfit(off, int64(len(p)), fmt.Errorf("%w: they come with %d guards of %d bytes each", ErrGuard, len(sums), guard.BlockSize))
	}
	for i, want := range sums {
		at := i * guard.BlockSize
		if got := guard.Sum(p[at : at+guard.BlockSize]); got != want {
			return misfit(off+int64(at), guard.BlockSize, fmt.Errorf("%w: it is %#08x, theirs is %#08x", ErrGuard, want, got))
		}
	}
	return nil
}

func misfit(off, n int64, err error) error {
	return &OpError{Op: "write", Name: "memory", Off: off, Len: n, Err: err}
}
