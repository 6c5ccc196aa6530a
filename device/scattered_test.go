package device_test

import (
	"bytes"
	"errors"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/guard"
)

// scattered is a device that takes parts together.
type scattered struct {
	device.Device
	calls int
}

func (s *scattered) ReadScattered(parts []device.Part) error {
	s.calls++
	return device.ReadScattered(s.Device, parts)
}

func (s *scattered) WriteScattered(parts []device.Part) error {
	s.calls++
	return device.WriteScattered(s.Device, parts)
}

// Parts reach their places, whoever writes them, and come from there, whoever reads
// them; and none is written after one that does not fit its sum, where they are written
// one by one.
func TestScattered(t *testing.T) {
	const block = guard.BlockSize
	mem := device.NewMem(16 * block)
	part := func(off, n int) device.Part {
		return device.Part{P: bytes.Repeat([]byte{byte(off/512 + 1)}, n), Off: int64(off)}
	}
	whole := part(3*block, block)
	whole.Sums = []uint32{guard.Sum(whole.P)}
	parts := []device.Part{part(512, 512), part(9*block, 2*block), whole}
	own := &scattered{Device: mem}
	for _, d := range []device.Device{mem, own} {
		if err := mem.WriteZeroes(0, mem.Size()); err != nil {
			t.Fatal(err)
		}
		if err := device.WriteScattered(d, parts); err != nil {
			t.Fatal(err)
		}
		want := make([]byte, mem.Size())
		for _, p := range parts {
			copy(want[p.Off:], p.P)
		}
		got := make([]byte, mem.Size())
		if _, err := mem.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%T: not what was written, %v", d, err)
		}
		again := []device.Part{{P: make([]byte, 512), Off: 512}, {P: make([]byte, 2*block), Off: 9 * block}}
		if err := device.ReadScattered(d, again); err != nil || !bytes.Equal(again[0].P, parts[0].P) || !bytes.Equal(again[1].P, parts[1].P) {
			t.Errorf("%T: they are not read as they were written, %v", d, err)
		}
	}
	if own.calls != 2 {
		t.Errorf("who takes them together was called %d times for a write and a read", own.calls)
	}
	wrong := part(5*block, block)
	wrong.Sums = []uint32{guard.Sum(wrong.P) + 1}
	err := device.WriteScattered(mem, []device.Part{wrong, part(7*block, block)})
	if !errors.Is(err, device.ErrGuard) {
		t.Errorf("a part that does not fit its sum: %v", err)
	}
	got := make([]byte, 3*block)
	if _, err := mem.ReadAt(got, 5*block); err != nil || !bytes.Equal(got, make([]byte, len(got))) {
		t.Errorf("it was written, or what follows: %v", err)
	}
	for name, call := range map[string]func(device.Device, []device.Part) error{"read": device.ReadScattered, "write": device.WriteScattered} {
		if err := call(mem, []device.Part{part(0, 512), part(15*block, 2*block)}); !errors.Is(err, device.ErrOutOfRange) {
			t.Errorf("%s beyond the end: %v", name, err)
		}
	}
}
