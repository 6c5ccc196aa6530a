package device

import (
	"bytes"
	"errors"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// openTemp opens a fresh file in the test's directory.
func openTemp(t testing.TB, size int64, o FileOptions) *File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "leg")
	if err := CreateFile(path, size); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFile(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// openDirect is openTemp, skipped where the file system has no O_DIRECT.
func openDirect(t testing.TB, size int64) *File {
	t.Helper()
	f := openTemp(t, size, FileOptions{})
	if f.direct == noFD {
		t.Skipf("no O_DIRECT in %s", filepath.Dir(f.name))
	}
	return f
}

// cached returns how many of the file's first n bytes are in the page cache.
func cached(t *testing.T, f *File, n int) (bytes int) {
	t.Helper()
	m, err := unix.Mmap(f.buffered, 0, n, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(m)
	page := unix.Getpagesize()
	vec := make([]byte, n/page)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(n), uintptr(unsafe.Pointer(&vec[0])))
	if errno != 0 {
		t.Fatal(errno)
	}
	for _, v := range vec {
		bytes += int(v&1) * page
	}
	return bytes
}

// Aligned requests leave nothing in the page cache, others do; and each sees
// what the other wrote.
func TestAlignedRequestsGoDirect(t *testing.T) {
	f := openDirect(t, 64<<10)
	p := make([]byte, 32<<10) // of a size that the runtime aligns to its pages
	if !f.align.fits(&p[0], len(p), 0) {
		t.Fatalf("memory at %p does not suit %+v", &p[0], f.align)
	}
	moves := map[string]func(p []byte, off int64) (int, error){
		"read": f.ReadAt, "write": f.WriteAt,
		"readvec":  func(p []byte, off int64) (int, error) { return f.ReadVecAt([][]byte{p[:4096], p[4096:]}, off) },
		"writevec": func(p []byte, off int64) (int, error) { return f.WriteVecAt([][]byte{p[:4096], p[4096:]}, off) },
	}
	for name, move := range moves {
		if _, err := move(p, 0); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := cached(t, f, 64<<10); n != 0 {
			t.Errorf("a direct %s left %d bytes in the page cache", name, n)
		}
	}
	for name, move := range moves {
		if _, err := move(p[1:], 0); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := cached(t, f, 64<<10); n == 0 {
			t.Errorf("an unaligned %s left nothing in the page cache", name)
		}
		if _, err := f.WriteAt(p, 0); err != nil { // drops the pages again
			t.Fatal(err)
		}
	}
}

// An alignment that the kernel knows better falls back to the page cache.
func TestRefusedAlignmentGoesThroughThePageCache(t *testing.T) {
	f := openDirect(t, 64<<10)
	f.align = alignment{addr: 1, off: 1}
	p := bytes.Repeat([]byte{7}, 1000)
	bufs := func() [][]byte { return [][]byte{make([]byte, 400), nil, make([]byte, 600)} }
	if _, err := f.WriteAt(p, 13); err != nil {
		t.Fatal(err)
	}
	got := bufs()
	if n, err := f.ReadVecAt(got, 13); err != nil || n != 1000 || !bytes.Equal(bytes.Join(got, nil), p) {
		t.Errorf("vectored read: %d, %v", n, err)
	}
	if n, err := f.WriteVecAt(bufs(), 20); err != nil || n != 1000 {
		t.Errorf("vectored write: %d, %v", n, err)
	}
	q := make([]byte, 1007)
	if _, err := f.ReadAt(q, 13); err != nil || !bytes.Equal(q, append(bytes.Repeat([]byte{7}, 7), make([]byte, 1000)...)) {
		t.Errorf("read: %v", err)
	}
}

// The probe agrees with what the kernel tells.
func TestProbeAlignment(t *testing.T) {
	f := openDirect(t, 64<<10)
	probed, ok := probeAlignment(f.direct)
	if !ok || probed.off < f.align.off || probed.addr < f.align.addr {
		t.Errorf("probed %+v, %v; the kernel says %+v", probed, ok, f.align)
	}
}

func TestFillVec(t *testing.T) {
	var iov [iovMax]unix.Iovec
	bufs := [][]byte{make([]byte, 3), nil, make([]byte, 5)}
	for skip, want := range [][]uint64{{3, 5}, {2, 5}, {1, 5}, {5}, {4}, {3}, {2}, {1}, {}} {
		k := fillVec(&iov, bufs, skip)
		if k != len(want) {
			t.Fatalf("skipping %d: %d elements, want %d", skip, k, len(want))
		}
		for i, n := range want {
			if uint64(iov[i].Len) != n {
				t.Errorf("skipping %d: element %d has %d bytes, want %d", skip, i, iov[i].Len, n)
			}
		}
	}
	if k := fillVec(&iov, make([][]byte, 0), 0); k != 0 {
		t.Errorf("%d elements for nothing", k)
	}
}

func TestFileErrors(t *testing.T) {
	for errno, want := range map[error]error{
		unix.EIO: ErrIO, unix.EINVAL: ErrIO, unix.ENOSPC: ErrNoSpace, unix.EDQUOT: ErrNoSpace, unix.EBUSY: ErrBusy,
	} {
		if err := fileError(errno); !errors.Is(err, want) || !errors.Is(err, errno) {
			t.Errorf("%v becomes %v", errno, err)
		}
	}
	if fileError(nil) != nil {
		t.Error("nil is an error")
	}
}

// Close waits for the calls inside, and lets none in meanwhile.
func TestGate(t *testing.T) {
	g := newGate()
	for range 2 {
		if err := g.enter(); err != nil {
			t.Fatal(err)
		}
	}
	inside := make(chan int64)
	go func() {
		if err := g.shut(); err != nil {
			t.Error(err)
		}
		inside <- g.word.Load() &^ gateShut
	}()
	for g.word.Load()&gateShut == 0 { // until shut has begun
		runtime.Gosched()
	}
	if err := g.enter(); err != ErrClosed {
		t.Errorf("enter while closing: %v", err)
	}
	if err := g.shut(); err != ErrClosed {
		t.Errorf("second shut: %v", err)
	}
	g.leave()
	for range 1000 { // a chance for shut to return too early
		runtime.Gosched()
	}
	g.leave()
	if n := <-inside; n != 0 {
		t.Errorf("shut returned with %d calls inside", n)
	}
}

// Calls racing with Close either succeed or fail with ErrClosed; none of them
// meets a descriptor that is another file's by now.
func TestCloseBesideCalls(t *testing.T) {
	for range 20 {
		f := openTemp(t, 64<<10, FileOptions{})
		var g sync.WaitGroup
		var calls atomic.Int64
		for range 4 {
			g.Go(func() {
				p := make([]byte, 4096)
				for {
					_, err := f.WriteAt(p, 0)
					if calls.Add(1); err != nil {
						if !errors.Is(err, ErrClosed) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		for calls.Load() < 10 {
			runtime.Gosched()
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		g.Wait()
	}
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	p := make([]byte, 4096)
	bufs := [][]byte{p, p}
	parts := []Part{{P: p}, {P: p, Off: 8192}}
	m := NewMem(1 << 20)
	f := openTemp(t, 1<<20, FileOptions{})
	for name, call := range map[string]func(){
		"Mem.ReadAt":          func() { m.ReadAt(p, 0) },
		"Mem.WriteAt":         func() { m.WriteAt(p, 0) },
		"File.ReadAt":         func() { f.ReadAt(p, 0) },
		"File.WriteAt":        func() { f.WriteAt(p, 0) },
		"File.ReadVecAt":      func() { f.ReadVecAt(bufs, 0) },
		"File.WriteVecAt":     func() { f.WriteVecAt(bufs, 0) },
		"File.WriteScattered": func() { f.WriteScattered(parts) },
	} {
		if n := testing.AllocsPerRun(100, call); n >= 1 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
