package device_test

import (
	"errors"
	"testing"

	"holdfast.dev/holdfast/device"
)

// benchmark4k reads or writes 4 KiB blocks in a fixed scattered order over d.
func benchmark4k(b *testing.B, d device.Device, one func(p []byte, off int64) (int, error)) {
	const block = 4096
	p := device.Aligned(block)
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

// BenchmarkWriteAndFlush writes 4 KiB and flushes: what a disk gives one copy, and
// two that lie on it.
func BenchmarkWriteAndFlush(b *testing.B) {
	const size, block = 64 << 20, 4096
	var files [2]device.Device
	for i := range files {
		files[i] = open(b, create(b, b.TempDir(), size), device.FileOptions{})
		if _, err := files[i].WriteAt(make([]byte, size), 0); err != nil { // so that no write meets a hole
			b.Fatal(err)
		}
	}
	p := device.Aligned(block)
	turn := func(d device.Device, at int64) error {
		_, err := d.WriteAt(p, at)
		return errors.Join(err, d.Flush())
	}
	other := make(chan error)
	for _, c := range []struct {
		name string
		turn func(at int64) error
	}{
		{"One", func(at int64) error { return turn(files[0], at) }},
		{"InTurn", func(at int64) error { return errors.Join(turn(files[0], at), turn(files[1], at)) }},
		{"SideBySide", func(at int64) error {
			go func() { other <- turn(files[1], at) }()
			return errors.Join(turn(files[0], at), <-other)
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			at := int64(0)
			for b.Loop() {
				at = (at + 7919) % (size / block)
				if err := c.turn(at * block); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
