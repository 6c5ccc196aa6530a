package volume

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/guard"
)

// keeper is a pool that keeps the sums it is handed, by offset.
type keeper struct {
	device.Device
	sums map[int64]uint32
}

func (k *keeper) WriteGuarded(p []byte, off int64, sums []uint32) error {
	for i, s := range sums {
		k.sums[off+int64(i)*BlockSize] = s
	}
	if err := device.CheckGuards(p, off, sums); err != nil {
		return err
	}
	_, err := k.WriteAt(p, off)
	return err
}

// Sums reach the pool with the blocks that they are of, across extents.
func TestWriteGuarded(t *testing.T) {
	v := pieces(t, 24*BlockSize)
	k := &keeper{v.dev, map[int64]uint32{}}
	v.dev = k
	p := make([]byte, 20*BlockSize)
	rand.NewChaCha8([32]byte{1}).Read(p)
	sums := make([]uint32, 20)
	for i := range sums {
		sums[i] = guard.Sum(p[i*BlockSize:][:BlockSize])
	}
	const off = 3 * BlockSize
	if err := v.WriteGuarded(p, off, sums); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(p))
	if _, err := v.ReadAt(got, off); err != nil || !bytes.Equal(got, p) {
		t.Errorf("read back: %v", err)
	}
	if len(k.sums) != len(sums) {
		t.Errorf("%d sums reached the pool", len(k.sums))
	}
	for at, sum := range k.sums {
		b := make([]byte, BlockSize)
		if _, err := k.ReadAt(b, at); err != nil || guard.Sum(b) != sum {
			t.Errorf("the sum at %d of the pool is another block's", at)
		}
	}
	sums[13] ^= 1
	if err := v.WriteGuarded(p, off, sums); !errors.Is(err, device.ErrGuard) {
		t.Errorf("a block that does not fit: %v", err)
	}
	sums[13] ^= 1
	for _, c := range []struct {
		off  int64
		sums []uint32
		want error
	}{{off + 512, sums, device.ErrGuard}, {off, sums[:19:19], device.ErrGuard}, {10 * BlockSize, sums, device.ErrOutOfRange}} {
		if err := v.WriteGuarded(p, c.off, c.sums); !errors.Is(err, c.want) {
			t.Errorf("%d sums at %d: %v, want %v", len(c.sums), c.off, err, c.want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { _ = v.WriteGuarded(p[:BlockSize], off, sums[:1]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
