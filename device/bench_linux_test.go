package device_test

import (
	"testing"

	"holdfast.dev/holdfast/device"
)

// benchmark4k reads or writes 4 KiB blocks in a fixed scattered order over d.
func benchmark4k(b *testing.B, d device.Device, one func(p []byte, off int64) (int, error)) {
	const block = 4096
	p := aligned(block)
	blocks := d.Size() / block
	b.SetBytes(block)
	b.ReportAllocs()
	at := int64(0)
	for b.Loop() {
		at = (at + 7919) % blocks
		if _, err := one(p, at*block); err != nil {
			b.Fatal(err)
		}
	}
}

func Benchmark4k(b *testing.B) {
	const size = 64 << 20
	for _, c := range []struct {
		name string
		open func(b *testing.B) device.Device
	}{
		{"Mem", func(*testing.B) device.Device { return device.NewMem(size) }},
		{"FileDirect", func(b *testing.B) device.Device {
			return open(b, create(b, b.TempDir(), size), device.FileOptions{})
		}},
		{"FileBuffered", func(b *testing.B) device.Device {
			return open(b, create(b, b.TempDir(), size), device.FileOptions{Buffered: true})
		}},
	} {
		d := c.open(b)
		if _, err := d.WriteAt(make([]byte, size), 0); err != nil { // so that no read meets a hole
			b.Fatal(err)
		}
		b.Run(c.name+"/Read", func(b *testing.B) { benchmark4k(b, d, d.ReadAt) })
		b.Run(c.name+"/Write", func(b *testing.B) { benchmark4k(b, d, d.WriteAt) })
	}
}
