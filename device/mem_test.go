package device_test

import (
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/devicetest"
)

func TestMemConforms(t *testing.T) {
	devicetest.Run(t, func(t *testing.T, size int64) device.Device { return device.NewMem(size) })
}

// A large device costs only what is written to it, and a discard finds all of
// that between the empty parts.
func TestMemIsSparse(t *testing.T) {
	const size = 1<<44 + 12345
	m := device.NewMem(size)
	places := []int64{0, 65<<20 + 7, 200 << 20, 1 << 40, size - 3}
	for _, off := range places {
		if _, err := m.WriteAt([]byte("abc"), off); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Discard(0, size); err != nil {
		t.Fatal(err)
	}
	for _, off := range places {
		p := make([]byte, 3)
		if _, err := m.ReadAt(p, off); err != nil || string(p) != "\x00\x00\x00" {
			t.Errorf("at %d after the discard: %q, %v", off, p, err)
		}
	}
}

func TestMemFreesWholeChunks(t *testing.T) {
	const size = 1 << 20
	m := device.NewMem(size)
	if _, err := m.WriteAt(make([]byte, size), 0); err != nil {
		t.Fatal(err)
	}
	if err := m.Discard(1, size-2); err != nil {
		t.Fatal(err)
	}
	hole := int64(0)
	err := m.Extents(0, size, func(e device.Extent) bool {
		if e.Hole {
			hole += e.Len
		}
		return true
	})
	if want := int64(size - 2*(64<<10)); err != nil || hole != want {
		t.Fatalf("%d bytes of holes, want %d; error %v", hole, want, err)
	}
}
