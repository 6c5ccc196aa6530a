package deadline_test

import (
	"fmt"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"unsafe"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/deadline"
)

// BenchmarkPaired does the same transfers on a bare device and on a watched one.
func BenchmarkPaired(b *testing.B) {
	const size = 64 << 20
	for _, under := range []struct {
		name string
		open func(b *testing.B) device.Device
	}{
		{"Mem", func(*testing.B) device.Device { return device.NewMem(size) }},
		{"File", func(b *testing.B) device.Device { return file(b, size) }},
	} {
		for _, n := range []int{4 << 10, 1 << 20} {
			for _, watched := range []bool{false, true} {
				d := under.open(b)
				if watched {
					d = deadline.New(d, deadline.Options{})
				}
				if _, err := d.WriteAt(aligned(size), 0); err != nil { // so that no read meets a hole
					b.Fatal(err)
				}
				name := fmt.Sprintf("%s/%dKiB/watched=%v", under.name, n>>10, watched)
				b.Run(name+"/Read", func(b *testing.B) { benchmark(b, n, size, d.ReadAt) })
				b.Run(name+"/Write", func(b *testing.B) { benchmark(b, n, size, d.WriteAt) })
				b.Run(name+"/ReadDepth16", func(b *testing.B) { benchmarkDepth(b, n, size, d.ReadAt) })
				if err := d.Close(); err != nil {
					b.Error(err)
				}
			}
		}
	}
}

// benchmark transfers n bytes at a time in a fixed scattered order.
func benchmark(b *testing.B, n, size int, one func(p []byte, off int64) (int, error)) {
	p := aligned(n)
	b.SetBytes(int64(n))
	b.ReportAllocs()
	at := 0
	for b.Loop() {
		at = (at + 7919) % (size / n)
		if _, err := one(p, int64(at*n)); err != nil {
			b.Fatal(err)
		}
	}
}

// benchmarkDepth keeps 16 transfers in flight.
func benchmarkDepth(b *testing.B, n, size int, one func(p []byte, off int64) (int, error)) {
	b.SetBytes(int64(n))
	b.SetParallelism(max(16/runtime.GOMAXPROCS(0), 1))
	var at atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		p := aligned(n)
		for pb.Next() {
			if _, err := one(p, at.Add(7919)%int64(size/n)*int64(n)); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func file(b *testing.B, size int64) device.Device {
	path := filepath.Join(b.TempDir(), "leg")
	if err := device.CreateFile(path, size); err != nil {
		b.Fatal(err)
	}
	f, err := device.OpenFile(path, device.FileOptions{})
	if err != nil {
		b.Fatal(err)
	}
	return f
}

// aligned returns n bytes of memory that suit direct I/O.
func aligned(n int) []byte {
	p := make([]byte, n+4096)
	skip := -int(uintptr(unsafe.Pointer(&p[0]))) & 4095
	return p[skip : skip+n]
}
