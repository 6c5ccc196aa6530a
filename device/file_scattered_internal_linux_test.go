package device

import (
	"bytes"
	"errors"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
	"holdfast.dev/holdfast/internal/aio"
	"holdfast.dev/holdfast/internal/guard"
)

// pageParts are n pages of content, each a page apart.
func pageParts(n int, content byte) (parts []Part) {
	mem := bytes.Repeat([]byte{content}, max(n*4096, 32<<10)) // of a size that the runtime aligns to its pages
	for i := range n {
		parts = append(parts, Part{P: mem[i*4096:][:4096], Off: int64(i) * 8192})
	}
	return parts
}

// wantParts fails unless the file has what the parts have, at their places, for who
// reads them alone and together.
func wantParts(t *testing.T, f *File, parts []Part) {
	t.Helper()
	again := pageParts(len(parts), 0)
	for i := range parts {
		again[i] = Part{P: again[i].P[:len(parts[i].P)], Off: parts[i].Off}
	}
	if err := f.ReadScattered(again); err != nil {
		t.Errorf("reading them together: %v", err)
	}
	for i, p := range parts {
		if !bytes.Equal(again[i].P, p.P) {
			t.Errorf("at %d there is not what was written, for who reads together", p.Off)
		}
		got := make([]byte, len(p.P))
		if _, err := f.ReadAt(got, p.Off); err != nil || !bytes.Equal(got, p.P) {
			t.Errorf("at %d there is not what was written: %v", p.Off, err)
		}
	}
}

// Aligned parts go to the kernel together, past the page cache; one alone does
// without a queue.
func TestScatteredGoesDirect(t *testing.T) {
	f := openDirect(t, 2<<20)
	if one, err := aio.New(1); err != nil {
		t.Skip(err)
	} else {
		one.Close()
	}
	if err := f.WriteScattered(pageParts(1, 1)); err != nil || f.queues.made != 0 {
		t.Errorf("one part: %v, %d queues", err, f.queues.made)
	}
	for _, n := range []int{2, togetherMax, togetherMax + 1, 100} {
		parts := pageParts(n, byte(n))
		if err := f.WriteScattered(parts); err != nil {
			t.Errorf("%d parts: %v", n, err)
		}
		wantParts(t, f, parts)
		if n := cached(t, f, 2<<20); n != 0 {
			t.Errorf("they left %d bytes in the page cache", n)
		}
		if f.queues.made != 1 || len(f.queues.idle) != 1 {
			t.Errorf("%d queues were made, %d are idle", f.queues.made, len(f.queues.idle))
		}
	}
}

// Whoever finds no queue reads and writes one by one.
func TestScatteredWithoutAQueue(t *testing.T) {
	f := openDirect(t, 1<<20)
	for name, spoil := range map[string]func(){
		"none to be had": func() { f.queues.made, f.queues.none = 0, true },
		"all in use":     func() { f.queues.made, f.queues.none = maxQueues, false },
	} {
		spoil()
		parts := pageParts(5, 5)
		if err := f.WriteScattered(parts); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wantParts(t, f, parts)
		if len(f.queues.idle) > 0 {
			t.Errorf("%s: a queue was made", name)
		}
	}
}

// Parts wait for a buffered write, which may not overlap them in time.
func TestScatteredBesideABufferedWrite(t *testing.T) {
	f := openDirect(t, 1<<20)
	before, after := pageParts(5, 1), pageParts(5, 2)
	if err := f.WriteScattered(before); err != nil {
		t.Fatal(err)
	}
	f.alone.Lock()
	done := make(chan error, 1)
	go func() { done <- f.WriteScattered(after) }()
	got := make([]byte, 4096)
	for range 2000 { // far longer than it would take
		if _, err := pread(f.buffered, got, 0); err != nil || !bytes.Equal(got, before[0].P) {
			t.Errorf("they did not wait: %v", err)
			break
		}
		runtime.Gosched()
	}
	f.alone.Unlock()
	if err := <-done; err != nil {
		t.Error(err)
	}
	wantParts(t, f, after)
}

// Of parts that cannot all be read the error is that of one.
func TestScatteredReadFails(t *testing.T) {
	f := openDirect(t, 1<<20)
	var op *OpError
	parts := pageParts(3, 1)
	parts[2].Off = 1<<20 - 512
	if err := f.ReadScattered(parts); !errors.Is(err, ErrOutOfRange) || !errors.As(err, &op) || op.Off != 1<<20-512 {
		t.Errorf("outside: %v", err)
	}
	parts = pageParts(3, 1)
	if err := unix.Ftruncate(f.buffered, 12288); err != nil {
		t.Fatal(err)
	}
	if err := f.ReadScattered(parts); !errors.Is(err, ErrIO) || !errors.As(err, &op) || op.Op != "read" || op.Off != 16384 {
		t.Errorf("a file that was cut off: %v", err)
	}
	writeOnly, err := unix.Open(f.name, unix.O_WRONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.direct, writeOnly = writeOnly, f.direct
	defer unix.Close(writeOnly)
	if err := f.ReadScattered(parts[1:]); !errors.Is(err, ErrIO) || !errors.Is(err, unix.EBADF) || !errors.As(err, &op) || op.Off != 8192 {
		t.Errorf("a descriptor that refuses reads: %v", err)
	}
}

// The lock is that of the descriptor which scattered parts are written through.
func TestLockIsTheDirectDescriptors(t *testing.T) {
	f := openDirect(t, 1<<20)
	if err := unix.Flock(f.buffered, unix.LOCK_EX|unix.LOCK_NB); err != unix.EWOULDBLOCK {
		t.Errorf("the buffered descriptor: %v", err)
	}
	if err := unix.Flock(f.direct, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Errorf("the direct descriptor: %v", err)
	}
}

// Parts that the kernel refuses for their alignment go through the page cache.
func TestScatteredRefusedAlignment(t *testing.T) {
	f := openDirect(t, 1<<20)
	f.align = alignment{addr: 1, off: 1}
	parts := pageParts(5, 3)
	parts[1].Off += 13
	parts[3].P = parts[3].P[1:1000]
	if err := f.WriteScattered(parts); err != nil {
		t.Fatal(err)
	}
	wantParts(t, f, parts)
}

// A part that fails is named; one that does not fit its sum, or lies outside, lets
// none be written.
func TestScatteredFails(t *testing.T) {
	f := openDirect(t, 1<<20)
	before := pageParts(3, 1)
	if err := f.WriteScattered(before); err != nil {
		t.Fatal(err)
	}
	var op *OpError
	wrong := pageParts(3, 2)
	wrong[2].Sums = []uint32{guard.Sum(wrong[2].P) + 1}
	if err := f.WriteScattered(wrong); !errors.Is(err, ErrGuard) {
		t.Errorf("a wrong sum: %v", err)
	}
	outside := pageParts(3, 2)
	outside[2].Off = 1<<20 - 512
	if err := f.WriteScattered(outside); !errors.Is(err, ErrOutOfRange) || !errors.As(err, &op) || op.Off != 1<<20-512 {
		t.Errorf("outside: %v", err)
	}
	wantParts(t, f, before)

	direct, err := unix.Open(f.name, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.direct, direct = direct, f.direct
	defer unix.Close(direct)
	if err := f.WriteScattered(pageParts(3, 2)[1:]); !errors.Is(err, ErrIO) || !errors.Is(err, unix.EBADF) || !errors.As(err, &op) || op.Off != 8192 {
		t.Errorf("a descriptor that refuses writes: %v", err)
	}
}
