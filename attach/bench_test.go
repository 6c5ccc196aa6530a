package attach

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast.dev/holdfast/cache"
)

// measure touches every page once, in an order, and returns the time that took:
// "store" or "load", through the window or a mapped file.
func (p *program) measure(what string, pages, random int) string {
	order := rand.Perm(pages)
	if random == 0 {
		for i := range order {
			order[i] = i
		}
	}
	mem := p.m.Bytes()
	began := time.Now()
	touch(mem, what, order)
	return fmt.Sprint("took ", int64(time.Since(began)))
}

var sink byte

func touch(mem []byte, what string, order []int) {
	for _, page := range order {
		if what == "store" {
			mem[page*cache.PageSize]++
		} else {
			sink += mem[page*cache.PageSize]
		}
	}
}

// Each figure is per page touched, after write access was taken away from all
// (store) or all were taken out (load); beside it that of a shared mapping of a file, in
// this process, after msync or MADV_DONTNEED.
func BenchmarkFaults(b *testing.B) {
	for _, c := range []struct {
		name, what string
		random     int
	}{{"store/random", "store", 1}, {"store/sequential", "store", 0}, {"load/random", "load", 1}, {"load/sequential", "load", 0}} {
		b.Run(c.name+"/window", func(b *testing.B) { benchWindow(b, Announced, c.what, c.random) })
		b.Run(c.name+"/async", func(b *testing.B) { benchWindow(b, Async, c.what, c.random) })
		b.Run(c.name+"/file", func(b *testing.B) { benchFile(b, c.what, c.random) })
	}
}

func benchWindow(b *testing.B, mode Flags, what string, random int) {
	// A budget in which the flusher sees no reason to begin.
	h := newHouseIn(b, mode, Options{}, 128<<20)
	c := h.client(housePages)
	c.do("advise 1", "ok")
	var total int64
	for range b.N {
		if err := h.handle.Sync(); err != nil {
			b.Fatal(err)
		}
		if what == "load" {
			c.do("advise 2", "ok")
		}
		c.tell(fmt.Sprintf("measure %s %d %d", what, housePages, random))
		var took int64
		if _, err := fmt.Sscanf(c.answer(), "took %d", &took); err != nil {
			b.Fatal(err)
		}
		total += took
	}
	b.ReportMetric(float64(total)/float64(b.N)/housePages, "ns/page")
	b.ReportMetric(0, "ns/op")
}

func benchFile(b *testing.B, what string, random int) {
	f, err := os.Create(filepath.Join(b.TempDir(), "file"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, housePages*cache.PageSize)); err != nil {
		b.Fatal(err)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, housePages*cache.PageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Munmap(mem)
	order := rand.Perm(housePages)
	if random == 0 {
		for i := range order {
			order[i] = i
		}
	}
	touch(mem, "store", order)
	var total time.Duration
	for range b.N {
		if err := unix.Msync(mem, unix.MS_SYNC); err != nil {
			b.Fatal(err)
		}
		if what == "load" {
			unix.Madvise(mem, unix.MADV_DONTNEED)
		}
		began := time.Now()
		touch(mem, what, order)
		total += time.Since(began)
	}
	b.ReportMetric(float64(total)/float64(b.N)/housePages, "ns/page")
	b.ReportMetric(0, "ns/op")
}
