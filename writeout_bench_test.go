package holdfast

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/deadline"
	"holdfast.dev/holdfast/mirror"
	"holdfast.dev/holdfast/volume"
)

// onFiles returns an open pool with one volume on two legs that are files, watched
// as those of a server are.
func onFiles(b *testing.B, size int64) (*floors, mapped) {
	var given []mirror.Leg
	for i := range 2 {
		path := filepath.Join(b.TempDir(), fmt.Sprint(i))
		if err := device.CreateFile(path, mirror.LegSize(volume.PoolSize(size))); err != nil {
			b.Fatal(err)
		}
		d, err := deadline.Open(func() (device.Device, error) { return device.OpenFile(path, device.FileOptions{}) }, deadline.Options{})
		if err != nil {
			b.Fatal(err)
		}
		given = append(given, mirror.Leg{Name: path, Dev: d})
	}
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	must(mirror.Format(given, mirror.FormatOptions{Size: volume.PoolSize(size)}))
	f := &floors{}
	var err error
	f.mirror, err = mirror.Open(given, mirror.Options{Log: quiet, Policy: mirror.Never})
	must(err)
	must(volume.Format(f.mirror))
	must(f.openTable())
	_, err = f.table.Create("main", size)
	must(err)
	must(f.openCache(cache.Options{Log: quiet, Age: time.Hour, Budget: 4 * size, DirtyLimit: 2 * size, Background: 2 * size}, func(string) cache.Stability { return cache.StabilityWait }))
	b.Cleanup(func() { _ = f.close() })
	m, _ := f.find(func(mapped) bool { return true })
	for f.mirror.Status().Resync.RegionsLeft > 0 {
		time.Sleep(time.Millisecond)
	}
	return f, m
}

// BenchmarkWriteOut writes pages out that are dirty, with no flush, and tells what
// it costs for each: time, processor, and how often a thread has to be woken.
func BenchmarkWriteOut(b *testing.B) {
	const size = 64 << 20
	for _, run := range []int64{1, 2, 32, 256} {
		b.Run(fmt.Sprintf("run=%dKiB", run*4), func(b *testing.B) {
			_, m := onFiles(b, size)
			p := make([]byte, run*cache.PageSize)
			for off := int64(0); off < size; off += int64(len(p)) {
				if _, err := m.handle.WriteAt(p, off); err != nil {
					b.Fatal(err)
				}
			}
			if err := m.handle.Sync(); err != nil {
				b.Fatal(err)
			}
			var pages int64
			var spent usage
			for b.Loop() {
				b.StopTimer()
				for off := int64(0); off < size; off += 2 * int64(len(p)) {
					if _, err := m.handle.WriteAt(p, off); err != nil {
						b.Fatal(err)
					}
				}
				before := used()
				b.StartTimer()
				if err := m.mapping.SyncRange(0, size); err != nil {
					b.Fatal(err)
				}
				spent = spent.add(used().sub(before))
				pages += size / 2 / cache.PageSize
			}
			spent.report(b, float64(pages), "page")
		})
	}
}

// BenchmarkWriteAndFlush makes one page dirty and durable at a time.
func BenchmarkWriteAndFlush(b *testing.B) {
	const size = 16 << 20
	_, m := onFiles(b, size)
	p := make([]byte, cache.PageSize)
	at := int64(0)
	before := used()
	for b.Loop() {
		at = (at + 7919) % (size / cache.PageSize)
		if _, err := m.handle.WriteAt(p, at*cache.PageSize); err != nil {
			b.Fatal(err)
		}
		if err := m.handle.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	used().sub(before).report(b, float64(b.N), "sync")
}

// usage is what the process has used.
type usage struct {
	cpu      time.Duration
	switches int64
}

func used() usage {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return usage{time.Duration(r.Utime.Nano() + r.Stime.Nano()), r.Nvcsw + r.Nivcsw}
}

func (u usage) sub(o usage) usage { return usage{u.cpu - o.cpu, u.switches - o.switches} }
func (u usage) add(o usage) usage { return usage{u.cpu + o.cpu, u.switches + o.switches} }

func (u usage) report(b *testing.B, n float64, of string) {
	b.ReportMetric(float64(u.cpu.Microseconds())/n, "cpu-us/"+of)
	b.ReportMetric(float64(u.switches)/n, "switches/"+of)
	b.ReportMetric(float64(b.Elapsed().Microseconds())/n, "us/"+of)
}
