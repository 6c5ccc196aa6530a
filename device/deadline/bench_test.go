package deadline_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
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
				if _, err := d.WriteAt(device.Aligned(size), 0); err != nil { // so that no read meets a hole
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

// BenchmarkScattered writes 32 blocks, each by itself, then all together, on a bare
// file and on a watched one: what it costs the processor, and how often a thread
// slept, or was made to wait.
func BenchmarkScattered(b *testing.B) {
	const size, block, count = 64 << 20, 4 << 10, 32
	mem := device.Aligned(count * block)
	parts := make([]device.Part, count)
	for _, watched := range []bool{false, true} {
		d := file(b, size)
		if watched {
			d = deadline.New(d, deadline.Options{})
		}
		if _, err := d.WriteAt(device.Aligned(size), 0); err != nil { // so that no write meets a hole
			b.Fatal(err)
		}
		alone := func() error {
			for i := range parts {
				if err := device.WritePart(d, &parts[i]); err != nil {
					return err
				}
			}
			return nil
		}
		for _, how := range []struct {
			name  string
			write func() error
		}{
			{"Alone", alone},
			{"Together", func() error { return device.WriteScattered(d, parts) }},
			{"AloneFlush", func() error { return errors.Join(alone(), d.Flush()) }},
			{"TogetherFlush", func() error { return errors.Join(device.WriteScattered(d, parts), d.Flush()) }},
		} {
			b.Run(fmt.Sprintf("watched=%v/%s", watched, how.name), func(b *testing.B) {
				b.ReportAllocs()
				at := 0
				begin := usage(b)
				for b.Loop() {
					for i := range parts {
						at = (at + 7919) % (size / block)
						parts[i] = device.Part{P: mem[i*block:][:block], Off: int64(at) * block}
					}
					if err := how.write(); err != nil {
						b.Fatal(err)
					}
				}
				end := usage(b)
				b.ReportMetric(float64(end.Utime.Nano()+end.Stime.Nano()-begin.Utime.Nano()-begin.Stime.Nano())/float64(b.N), "cpu-ns/op")
				b.ReportMetric(float64(end.Nvcsw-begin.Nvcsw)/float64(b.N), "sleeps/op")
				b.ReportMetric(float64(end.Nivcsw-begin.Nivcsw)/float64(b.N), "preempted/op")
			})
		}
		if err := d.Close(); err != nil {
			b.Error(err)
		}
	}
}

// usage is what the process has used.
func usage(b *testing.B) (u unix.Rusage) {
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u
}

// benchmark transfers n bytes at a time in a fixed scattered order.
func benchmark(b *testing.B, n, size int, one func(p []byte, off int64) (int, error)) {
	p := device.Aligned(n)
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
		p := device.Aligned(n)
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
