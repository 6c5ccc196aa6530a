package volume

import (
	"bytes"
	"errors"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/devicetest"
)

// pieces returns a volume of about size bytes whose extents lie out of order and
// in small pieces, so that requests cross from one to the next.
func pieces(t *testing.T, size int64) *Volume {
	size = max(size/BlockSize, 6) * BlockSize
	piece := (size/BlockSize + 5) / 6 * BlockSize
	r := &record{name: "v", size: size}
	slot := int64(7)
	for at := int64(0); at < size; at += piece {
		r.extents = append(r.extents, extent{at, TableSize + slot%7*2*ExtentAlign, min(piece, size-at)})
		slot += 3
	}
	const pool = TableSize + 14*ExtentAlign
	if err := r.check(pool); err != nil {
		t.Fatal(err)
	}
	return newVolume(device.NewMem(pool), r)
}

func TestConformance(t *testing.T) {
	devicetest.Run(t, func(t *testing.T, size int64) device.Device { return pieces(t, size) }, devicetest.Multiple(BlockSize))
}

// Bytes written through a volume lie in its own extents and nowhere else.
func TestVolumesDoNotTouchEachOther(t *testing.T) {
	d, table := formatted(t, 16*mib)
	a, b, c := create(t, table, "a", mib+BlockSize), create(t, table, "b", 2*mib), create(t, table, "c", mib)
	fill := func(v *Volume, with byte) {
		if _, err := v.WriteAt(bytes.Repeat([]byte{with}, int(v.Size())), 0); err != nil {
			t.Fatal(err)
		}
	}
	fill(a, 'a')
	fill(c, 'c')
	fill(b, 'b')
	if err := b.Discard(BlockSize, b.Size()-BlockSize); err != nil {
		t.Fatal(err)
	}
	for v, want := range map[*Volume]byte{a: 'a', c: 'c'} {
		got := make([]byte, v.Size())
		if _, err := v.ReadAt(got, 0); err != nil {
			t.Fatal(err)
		}
		if bytes.Count(got, []byte{want}) != len(got) {
			t.Errorf("volume %s changed", v.Name())
		}
	}
	if got := names(open(t, d)); got != "a b c" {
		t.Errorf("the table lists %q after the volumes were filled", got)
	}
}

func TestCloseLeavesTheDeviceOpen(t *testing.T) {
	d, table := formatted(t, 8*mib)
	v := create(t, table, "v", mib)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	calls := map[string]error{
		"Flush":       v.Flush(),
		"Discard":     v.Discard(0, BlockSize),
		"WriteZeroes": v.WriteZeroes(0, BlockSize),
		"Reserve":     v.Reserve(0, BlockSize),
		"Extents":     v.Extents(0, BlockSize, func(device.Extent) bool { return true }),
	}
	_, calls["ReadAt"] = v.ReadAt(make([]byte, 1), 0)
	_, calls["WriteAt"] = v.WriteAt(make([]byte, 1), 0)
	for call, err := range calls {
		if !errors.Is(err, device.ErrClosed) {
			t.Errorf("%s after Close: %v", call, err)
		}
	}
	if err := d.Flush(); err != nil {
		t.Errorf("the device below: %v", err)
	}
}

func TestReserveAgreesWithinTheVolume(t *testing.T) {
	_, table := formatted(t, 8*mib)
	v := create(t, table, "v", mib)
	if !v.OwnsSpace() {
		t.Error("a linear volume does not own its space")
	}
	if err := v.Reserve(mib-BlockSize, BlockSize); err != nil {
		t.Error(err)
	}
	v.Release(mib-BlockSize, BlockSize)
	if err := v.Reserve(mib, BlockSize); !errors.Is(err, device.ErrOutOfRange) {
		t.Errorf("beyond the end: %v", err)
	}
}

// failing fails every transfer that touches a byte range, after the bytes before.
type failing struct {
	device.Device
	at int64
}

func (f failing) WriteAt(p []byte, off int64) (int, error) {
	if off <= f.at && f.at < off+int64(len(p)) {
		n, _ := f.Device.WriteAt(p[:f.at-off], off)
		return n, device.ErrIO
	}
	return f.Device.WriteAt(p, off)
}

func TestShortTransferIsCountedAcrossExtents(t *testing.T) {
	v := pieces(t, 6*BlockSize)
	e := v.extents[2]
	v.dev = failing{v.dev, e.pool + 100}
	n, err := v.WriteAt(make([]byte, 4*BlockSize), BlockSize)
	if want := int(e.vol) + 100 - BlockSize; n != want || !errors.Is(err, device.ErrIO) {
		t.Errorf("got %d, %v, want %d bytes and ErrIO", n, err, want)
	}
	var where *device.OpError
	if !errors.As(err, &where) || where.Name != "volume v" || where.Off != BlockSize || where.Len != 4*BlockSize {
		t.Errorf("the error does not say where: %v", err)
	}
}

func TestExtentsStopWhenToldTo(t *testing.T) {
	v := pieces(t, 6*BlockSize)
	calls := 0
	if err := v.Extents(0, v.Size(), func(device.Extent) bool { calls++; return calls < 2 }); err != nil {
		t.Fatal(err)
	}
	if calls != 2 {
		t.Errorf("yield was called %d times after it returned false the second time", calls)
	}
}

func TestTransfersDoNotAllocate(t *testing.T) {
	v := pieces(t, 6*BlockSize)
	p := make([]byte, 3*BlockSize)
	if n := testing.AllocsPerRun(100, func() {
		v.WriteAt(p, 100)
		v.ReadAt(p, 100)
		v.Reserve(0, BlockSize)
		v.Release(0, BlockSize)
	}); n != 0 {
		t.Errorf("%v allocations for a read, a write and a reservation", n)
	}
}
