package mirror

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/guard"
)

const (
	healData   = 1 << 30
	healRegion = 1 << 20
)

// healPool returns an open pool of 1 GiB on two files, all of it written.
func healPool(b *testing.B, kind guard.Kind) (*Mirror, []Leg) {
	b.Helper()
	var legs []Leg
	for i := range 2 {
		path := filepath.Join(b.TempDir(), fmt.Sprint(i))
		must(b, device.CreateFile(path, LegSize(healData)))
		f, err := device.OpenFile(path, device.FileOptions{})
		must(b, err)
		b.Cleanup(func() { must(b, f.Close()) })
		legs = append(legs, Leg{path, kept{f}})
	}
	must(b, Format(legs, FormatOptions{Size: healData, RegionSize: healRegion, Guards: kind}))
	m := open(b, legs, Options{Manual: true})
	resyncAll(m)
	p := device.Aligned(1 << 20)
	for off := int64(0); off < healData; off += int64(len(p)) {
		p[0] = byte(off >> 20)
		put(b, m, off, p)
	}
	must(b, m.Flush())
	return m, legs
}

// BenchmarkScrub reads 1 GiB of data of each of two legs and checks it.
func BenchmarkScrub(b *testing.B) {
	for _, kind := range []guard.Kind{guard.CRC32C, guard.T10DIF} {
		b.Run(fmt.Sprint(kind), func(b *testing.B) {
			m, _ := healPool(b, kind)
			b.SetBytes(healData)
			for b.Loop() {
				must(b, m.Scrub(ScrubOptions{}))
			}
			if s := m.Status().Scrub; s.Bad != 0 || s.Done != healData {
				b.Errorf("%+v", s)
			}
		})
	}
}

// BenchmarkResync crashes with one region of a hundred dirty and makes the legs
// equal again. It prints how much of the volume that reads, and how long it takes
// compared with reading all of it.
func BenchmarkResync(b *testing.B) {
	m, legs := healPool(b, guard.CRC32C)
	began := time.Now()
	must(b, m.Scrub(ScrubOptions{}))
	whole := time.Since(began)
	must(b, m.Close())
	var took time.Duration
	var read, regions float64
	for b.Loop() {
		m := open(b, legs, Options{Manual: true})
		for off := int64(0); off < healData; off += 100 * healRegion {
			put(b, m, off, make([]byte, BlockSize))
		}
		m.Abandon()
		m = open(b, legs, Options{Manual: true})
		began := time.Now()
		resyncAll(m)
		took += time.Since(began)
		s := m.Status()
		read, regions = float64(s.Resync.BytesRead), float64(s.Resync.RegionsDone)
		must(b, m.Close())
	}
	b.ReportMetric(regions, "regions")
	b.ReportMetric(read/(1<<20), "MiB-read")
	b.ReportMetric(float64(took.Microseconds())/float64(b.N)/1000, "ms/resync")
	b.ReportMetric(float64(took)/float64(b.N)/float64(whole), "resync/whole")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkGuards writes and reads at random with each kind of guard, with a flush
// after every 64 writes, on the same files in turn.
func BenchmarkGuards(b *testing.B) {
	kinds := []guard.Kind{guard.None, guard.CRC32C, guard.T10DIF}
	for _, size := range []int{4 << 10, 128 << 10} {
		b.Run(fmt.Sprintf("size=%dk", size>>10), func(b *testing.B) {
			var pools []*Mirror
			for _, kind := range kinds {
				m, _ := healPool(b, kind)
				pools = append(pools, m)
			}
			var wrote, read [3]time.Duration
			p := device.Aligned(size)
			turn := int64(0)
			for b.Loop() {
				for k, m := range pools {
					began := time.Now()
					for i := range int64(64) {
						put(b, m, (turn*64+i)*7919%(healData/int64(size))*int64(size), p)
					}
					must(b, m.Flush())
					wrote[k] += time.Since(began)
					began = time.Now()
					for i := range int64(64) {
						_, err := m.ReadAt(p, (turn*64+i)*7919%(healData/int64(size))*int64(size))
						must(b, err)
					}
					read[k] += time.Since(began)
				}
				turn++
			}
			for k, kind := range kinds[1:] {
				b.ReportMetric(float64(wrote[k+1])/float64(wrote[0]), fmt.Sprintf("write-%v/none", kind))
				b.ReportMetric(float64(read[k+1])/float64(read[0]), fmt.Sprintf("read-%v/none", kind))
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
