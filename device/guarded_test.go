package device_test

import (
	"bytes"
	"errors"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/guard"
)

const block = guard.BlockSize

func sumsOf(p []byte) (sums []uint32) {
	for ; len(p) > 0; p = p[block:] {
		sums = append(sums, guard.Sum(p[:block]))
	}
	return sums
}

// A device that does not check what it is handed has it checked, and gets nothing
// that does not fit.
func TestWriteGuarded(t *testing.T) {
	p := bytes.Repeat([]byte("abcdefgh"), 3*block/8)
	good := sumsOf(p)
	for _, c := range []struct {
		name string
		off  int64
		sums []uint32
		at   int64 // of the misfit, or -1
	}{
		{"sound", 2 * block, good, -1},
		{"first", 2 * block, []uint32{good[0] ^ 1, good[1], good[2]}, 2 * block},
		{"last", 2 * block, []uint32{good[0], good[1], good[2] ^ 1<<31}, 4 * block},
		{"sums missing", 2 * block, good[:2], 2 * block},
		{"sums left over", 2 * block, append(good[:3:3], 0), 2 * block},
		{"not a block's place", 512, good, 512},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := device.NewMem(8 * block)
			err := device.WriteGuarded(m, p, c.off, c.sums)
			got := make([]byte, len(p))
			if _, rerr := m.ReadAt(got, c.off); rerr != nil {
				t.Fatal(rerr)
			}
			if c.at < 0 {
				if err != nil || !bytes.Equal(got, p) {
					t.Errorf("not written: %v", err)
				}
				return
			}
			var op *device.OpError
			if !errors.Is(err, device.ErrGuard) || !errors.As(err, &op) || op.Off != c.at {
				t.Errorf("error %v", err)
			}
			if !bytes.Equal(got, make([]byte, len(p))) {
				t.Error("bytes were written")
			}
		})
	}
	if err := device.WriteGuarded(device.NewMem(block), p, 0, good); !errors.Is(err, device.ErrOutOfRange) {
		t.Errorf("beyond the end: %v", err)
	}
}

type keeper struct {
	device.Device
	sums []uint32
}

func (k *keeper) WriteGuarded(p []byte, off int64, sums []uint32) error {
	k.sums = sums
	return nil
}

// One that is Guarded does it itself.
func TestWriteGuardedByTheDevice(t *testing.T) {
	k := &keeper{Device: device.NewMem(block)}
	if err := device.WriteGuarded(k, make([]byte, block), 0, []uint32{7}); err != nil || len(k.sums) != 1 || k.sums[0] != 7 {
		t.Errorf("handed on %v, %v", k.sums, err)
	}
}
