package uffd

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The figures are per operation as its name says, as the process that faults
// sees it: its loop over the pages is timed, not what prepares it. Beside each
// stands the same loop over a file of the local file system mapped MAP_SHARED.

// benchPages is how many pages one round goes over: 16 MiB, which stays in
// memory everywhere.
const benchPages = 4096

// rounds calls round until b.N operations are done and reports the mean of
// what it says that they took.
func rounds(b *testing.B, most int, round func(count int) time.Duration) {
	b.Helper()
	b.ReportAllocs()
	b.ResetTimer()
	var sum time.Duration
	for left := b.N; left > 0; {
		count := min(left, most)
		sum += round(count)
		left -= count
	}
	b.ReportMetric(float64(sum.Nanoseconds())/float64(b.N), "ns/op")
}

// serveRuns grants each fault a run of pages, until the descriptor is closed.
func (c *child) serveRuns(run int) {
	faults := make([]Fault, 16)
	for {
		n, err := c.ReadFaults(faults)
		if err != nil {
			return // the child is ended by then, or the benchmark hangs and says where
		}
		for _, f := range faults[:n] {
			addr := f.Addr &^ uintptr(pageSize-1)
			if f.Kind == WriteProtect {
				err = c.Unprotect(addr, run*pageSize)
			} else {
				_, err = c.Continue(addr, run*pageSize, true)
			}
			if err != nil {
				c.tb.Error(err)
			}
		}
	}
}

// startBench runs a child whose pages are all there, and serves it.
func startBench(b *testing.B, run int) (c *child, stop func()) {
	c = start(b, benchPages)
	for page := range benchPages {
		c.write(page, 1)
	}
	var server sync.WaitGroup
	server.Go(func() { c.serveRuns(run) })
	return c, func() {
		c.Close()
		server.Wait()
	}
}

func (c *child) timed(op string, count int) time.Duration {
	return time.Duration(c.answer(c.ask(request{Op: op, Count: count})))
}

func BenchmarkFault(b *testing.B) {
	for _, c := range []struct {
		name  string
		op    string
		run   int
		ready func(*child)
	}{
		{"read", "loads", 1, (*child).dropAll},
		{"readRun16", "loads", 16, (*child).dropAll},
		{"write", "stores", 1, (*child).protectAll},
		{"writeRun16", "stores", 16, (*child).protectAll},
	} {
		b.Run(c.name, func(b *testing.B) {
			child, stop := startBench(b, c.run)
			defer stop()
			child.grant(0, benchPages, true)
			// One fault is one operation, whatever it maps.
			rounds(b, benchPages/c.run, func(faults int) time.Duration {
				c.ready(child)
				return child.timed(c.op, faults*c.run)
			})
		})
	}
}

func (c *child) dropAll() { c.answer(c.ask(request{Op: "drop", Count: benchPages})) }

func (c *child) protectAll() { c.must(c.Protect(c.base, benchPages*pageSize)) }

// A run of 256 pages, all of which were stored to, loses its write access.
func BenchmarkProtectRun256(b *testing.B) {
	c, stop := startBench(b, 256)
	defer stop()
	c.grant(0, benchPages, true)
	rounds(b, benchPages/256, func(runs int) time.Duration {
		c.timed("stores", benchPages)
		start := time.Now()
		for i := range runs {
			c.must(c.Protect(c.at(i*256), 256*pageSize))
		}
		took := time.Since(start)
		c.protectAll()
		return took
	})
}

// mapFile maps a file in the folder for temporary files.
func mapFile(b *testing.B) (*os.File, *childState) {
	f, err := os.Create(filepath.Join(b.TempDir(), "file"))
	if err != nil {
		b.Fatal(err)
	}
	// Page by page: one large write would make large folios, which are mapped by
	// one fault for hundreds of pages.
	for range benchPages {
		if _, err := f.Write(make([]byte, pageSize)); err != nil {
			b.Fatal(err)
		}
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, benchPages*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		unix.Munmap(mem)
		f.Close()
	})
	return f, &childState{mem: mem}
}

// The kernel maps 16 pages around a load by itself, so a load of each page is
// timed; a store to each page after a sync faults once a page.
func BenchmarkSharedFile(b *testing.B) {
	b.Run("readPage", func(b *testing.B) {
		_, c := mapFile(b)
		rounds(b, benchPages, func(count int) time.Duration {
			if err := unix.Madvise(c.mem, unix.MADV_DONTNEED); err != nil {
				b.Fatal(err)
			}
			return time.Duration(c.touch(request{Op: "loads", Count: count}))
		})
	})
	b.Run("write", func(b *testing.B) {
		f, c := mapFile(b)
		rounds(b, benchPages, func(count int) time.Duration {
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
			return time.Duration(c.touch(request{Op: "stores", Count: count}))
		})
	})
	// What takes write access away from a file's pages is their write-out.
	b.Run("syncRun256", func(b *testing.B) {
		f, c := mapFile(b)
		rounds(b, 1, func(int) time.Duration {
			c.touch(request{Op: "stores", Count: 256})
			start := time.Now()
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
			return time.Since(start)
		})
	})
}
