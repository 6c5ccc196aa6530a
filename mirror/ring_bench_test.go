package mirror

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/guard"
)

// benchFiles returns an open pool on files that are not sparse, of which half of
// the data is for the ring and half is not.
func benchFiles(b *testing.B, legs int) *Mirror {
	b.Helper()
	const data, ring = 64 << 20, 32 << 20
	var given []Leg
	zeros := device.Aligned(1 << 20)
	for i := range legs {
		path := filepath.Join(b.TempDir(), fmt.Sprint(i))
		must(b, device.CreateFile(path, LegSizeWith(data, ring)))
		f, err := device.OpenFile(path, device.FileOptions{})
		must(b, err)
		for off := int64(0); off < f.Size(); off += int64(len(zeros)) {
			put(b, f, off, zeros[:min(int64(len(zeros)), f.Size()-off)])
		}
		given = append(given, Leg{path, f})
	}
	must(b, Format(given, FormatOptions{Size: data, Guards: guard.CRC32C, Journal: ring}))
	m := open(b, given, Options{})
	resyncAll(m)
	must(b, m.Flush())
	m.Start()
	return m
}

// BenchmarkFlush writes some parts, scattered, and flushes: through the journal,
// and home, as many at a time as a sync writes. It prints how long each takes, and
// the former as a part of the latter. Room is made in the background meanwhile.
func BenchmarkFlush(b *testing.B) {
	const depth = 8
	m := benchFiles(b, 2)
	half := m.Size() / 2
	for _, count := range []int{1, 8, 32, 256} {
		for _, kib := range []int{4, 8, 16, 32, 64, 128} {
			b.Run(fmt.Sprintf("parts=%d/size=%dk", count, kib), func(b *testing.B) {
				size := int64(kib) << 10
				p := device.Aligned(int(size))
				sums := sumsOf(p)
				var ring, home time.Duration
				for b.Loop() {
					parts := make([]device.Part, count)
					for i := range parts {
						parts[i] = device.Part{P: p, Off: rand.Int64N(half/size) * size, Sums: sums}
					}
					began := time.Now()
					m.ring.mode = JournalAlways
					n, err := m.WriteBatch(parts)
					m.ring.mode = JournalAuto
					must(b, err)
					for _, x := range parts[n:] {
						must(b, m.WriteGuarded(x.P, x.Off, x.Sums))
					}
					must(b, m.Flush())
					ring += time.Since(began)

					began = time.Now()
					var wg sync.WaitGroup
					for k := range min(depth, count) {
						wg.Go(func() {
							for i := k; i < count; i += depth {
								if err := m.WriteGuarded(p, half+parts[i].Off, sums); err != nil {
									b.Error(err)
								}
							}
						})
					}
					wg.Wait()
					must(b, m.Flush())
					home += time.Since(began)
				}
				b.ReportMetric(float64(ring.Microseconds())/float64(b.N), "µs/journal")
				b.ReportMetric(float64(home.Microseconds())/float64(b.N), "µs/home")
				b.ReportMetric(float64(ring)/float64(home), "journal/home")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
