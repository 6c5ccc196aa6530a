package nbd

import (
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"holdfast.dev/holdfast/device"
)

// flat is an Export whose every byte is in memory, without locks: what remains
// is the server's own cost.
type flat struct{ p []byte }

func (f flat) Size() int64                              { return int64(len(f.p)) }
func (f flat) ReadAt(p []byte, off int64) (int, error)  { return copy(p, f.p[off:]), nil }
func (f flat) WriteAt(p []byte, off int64) (int, error) { return copy(f.p[off:], p), nil }
func (f flat) ReadScattered(parts []device.Part) error {
	for _, p := range parts {
		copy(p.P, f.p[p.Off:])
	}
	return nil
}
func (f flat) TryReadAt(p []byte, off int64) bool                   { copy(p, f.p[off:]); return true }
func (f flat) TryWriteAt(p []byte, off int64) int                   { return copy(f.p[off:], p) }
func (f flat) Discard(off, n int64) error                           { clear(f.p[off : off+n]); return nil }
func (f flat) WriteZeroes(off, n int64) error                       { return f.Discard(off, n) }
func (f flat) Prefetch(int64, int64) error                          { return nil }
func (f flat) Sync() error                                          { return nil }
func (f flat) SyncRange(int64, int64) error                         { return nil }
func (f flat) Extents(o, n int64, y func(device.Extent) bool) error { return allData(o, n, y) }
func (f flat) Close() error                                         { return nil }
func (f flat) List() []Info                                         { return []Info{{Name: "main", Size: f.Size()}} }
func (f flat) Open(string) (Export, error)                          { return f, nil }

// pump sends n copies of req, depth at a time, and reads the replies. It does
// not allocate.
func pump(tb testing.TB, cl *client, req []byte, replySize, depth, n int) {
	batch := make([]byte, 0, depth*len(req))
	for range depth {
		batch = append(batch, req...)
	}
	in := make([]byte, depth*replySize)
	for n > 0 {
		k := min(n, depth)
		if _, err := cl.Write(batch[:k*len(req)]); err != nil {
			tb.Fatal(err)
		}
		if _, err := io.ReadFull(cl, in[:k*replySize]); err != nil {
			tb.Fatal(err)
		}
		n -= k
	}
}

var noDeadline time.Time

// benchServer serves exports from memory without a test's catalogue.
func benchServer(tb testing.TB, e Exports) *testServer {
	c := new(catalogue)
	s := start(tb, c, Options{})
	s.o.Exports = e
	return s
}

func BenchmarkCached(b *testing.B) {
	for _, depth := range []int{1, 32} {
		for _, size := range []int{4 << 10, 128 << 10} {
			if depth*size > 1<<20 {
				continue
			}
			for _, typ := range []uint16{cmdRead, cmdWrite} {
				b.Run(fmt.Sprintf("%s/size=%d/depth=%d", commandName(typ), size, depth), func(b *testing.B) {
					cl := benchServer(b, flat{make([]byte, 16<<20)}).connect(false)
					req, replySize := requestBytes(0, typ, 1, 1<<20, uint32(size)), simpleHeaderSize+size
					if typ == cmdWrite {
						req, replySize = append(req, make([]byte, size)...), simpleHeaderSize
					}
					cl.SetDeadline(noDeadline)
					pump(b, cl, req, replySize, depth, depth)
					b.SetBytes(int64(size))
					b.ReportAllocs()
					b.ResetTimer()
					pump(b, cl, req, replySize, depth, b.N)
				})
			}
		}
	}
}

// BenchmarkMiss measures the way through a worker.
func BenchmarkMiss(b *testing.B) {
	cl := benchServer(b, missing{flat{make([]byte, 16<<20)}}).connect(false)
	cl.SetDeadline(noDeadline)
	b.ReportAllocs()
	pump(b, cl, requestBytes(0, cmdRead, 1, 0, 4096), simpleHeaderSize+4096, 32, b.N)
}

// missing is flat memory that nothing is served from at once.
type missing struct{ flat }

func (missing) TryReadAt([]byte, int64) bool  { return false }
func (missing) TryWriteAt([]byte, int64) int  { return 0 }
func (m missing) Open(string) (Export, error) { return m, nil }

// A cached request allocates nothing: neither in the reader nor elsewhere.
func TestCachedRequestsDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, structured := range []bool{false, true} {
		for _, size := range []int{512, 4096, 200 << 10, 2 << 20} {
			for _, typ := range []uint16{cmdRead, cmdWrite} {
				cl := benchServer(t, flat{make([]byte, 16<<20)}).connect(structured)
				req, replySize := requestBytes(0, typ, 1, 1<<20, uint32(size)), simpleHeaderSize+size
				if structured {
					replySize = dataHeaderSize + size
				}
				if typ == cmdWrite {
					req, replySize = append(req, make([]byte, size)...), simpleHeaderSize
				}
				pump(t, cl, req, replySize, 1, 4)
				if got := mallocs(func() { pump(t, cl, req, replySize, 1, 200) }); got > 20 {
					t.Errorf("%s of %d, structured %v: 200 requests made %d allocations", commandName(typ), size, structured, got)
				}
			}
		}
	}
}

// mallocs counts the process's allocations in f.
func mallocs(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs
}
