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

// batcher is a pool that takes batches.
type batcher struct {
	device.Device
	err error
}

func (b *batcher) WriteBatch(parts []device.Part) (int, error) {
	for i, p := range parts {
		if b.err != nil && i == 1 {
			return i, b.err
		}
		if _, err := b.WriteAt(p.P, p.Off); err != nil {
			return i, err
		}
	}
	return len(parts), nil
}

func (b *batcher) SyncBatch(parts []device.Part) (int, bool, error) {
	n, err := b.WriteBatch(parts)
	return n, err == nil, err
}

// Parts of a batch reach their places in the pool, as many as lie in one extent
// each, and no others.
func TestWriteBatch(t *testing.T) {
	v := pieces(t, 24*BlockSize)
	part := func(off, n int64) device.Part {
		return device.Part{P: bytes.Repeat([]byte{byte(off/512 + 1)}, int(n)), Off: off}
	}
	whole := v.extents[1].vol
	parts := []device.Part{part(512, 512), part(whole, 1024), part(whole-512, 1024), part(whole+4096, 512)}
	if n, err := v.WriteBatch(parts); n != 0 || err != nil {
		t.Errorf("a pool that takes none took %d, %v", n, err)
	}
	under := v.dev
	v.dev = &batcher{Device: under}
	if n, err := v.WriteBatch(parts); n != 2 || err != nil {
		t.Errorf("%d were written, %v", n, err)
	}
	for i, p := range parts {
		got := make([]byte, len(p.P))
		if _, err := v.ReadAt(got, p.Off); err != nil || (got[len(got)-1] == p.P[0]) != (i < 2) {
			t.Errorf("part %d reads as %d, %v", i, got[len(got)-1], err)
		}
	}
	fault := errors.New("fault")
	v.dev = &batcher{under, fault}
	if n, err := v.WriteBatch(parts); n != 1 || !errors.Is(err, fault) {
		t.Errorf("%d were written, %v", n, err)
	}
	if n, err := v.WriteBatch([]device.Part{part(v.size, 0)}); n != 0 || err != nil {
		t.Errorf("nothing at the end: %d, %v", n, err)
	}
	if n, err := v.WriteBatch([]device.Part{part(v.size, 512)}); n != 0 || !errors.Is(err, device.ErrOutOfRange) {
		t.Errorf("beyond the end: %d, %v", n, err)
	}
}

// Scattered parts reach their places in the pool whatever extents they lie in, with
// their sums.
func TestWriteScattered(t *testing.T) {
	v := pieces(t, 24*BlockSize)
	edge := v.extents[1].vol
	var parts []device.Part
	for i, at := range [][2]int64{{512, 512}, {edge - 2*BlockSize, 4 * BlockSize}, {edge + 5*BlockSize, BlockSize}} {
		p := device.Part{P: bytes.Repeat([]byte{byte(i + 1)}, int(at[1])), Off: at[0]}
		if at[0]%BlockSize == 0 {
			for range at[1] / BlockSize {
				p.Sums = append(p.Sums, guard.Sum(p.P[:BlockSize]))
			}
		}
		parts = append(parts, p)
	}
	if err := v.WriteScattered(parts); err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		got := make([]byte, len(p.P))
		if _, err := v.ReadAt(got, p.Off); err != nil || !bytes.Equal(got, p.P) {
			t.Errorf("what is at %d reads otherwise: %v", p.Off, err)
		}
	}
	parts[1].Sums[3]++
	if err := v.WriteScattered(parts); !errors.Is(err, device.ErrGuard) {
		t.Errorf("a part that does not fit its sum: %v", err)
	}
	parts[1].Sums = parts[1].Sums[:3]
	if err := v.WriteScattered(parts); !errors.Is(err, device.ErrGuard) {
		t.Errorf("a part with a sum too few: %v", err)
	}
	if err := v.WriteScattered([]device.Part{{P: make([]byte, 512), Off: v.size}}); !errors.Is(err, device.ErrOutOfRange) {
		t.Errorf("beyond the end: %v", err)
	}
}
