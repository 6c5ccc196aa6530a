package interop

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// chunk is how much of a file is handled at a time, in bytes.
const chunk = 1 << 20

// randomFile makes a file of random bytes and returns its path. size is a
// multiple of chunk.
func randomFile(t *testing.T, size int64, seed int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "random")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.CopyBuffer(f, io.LimitReader(newRandom(seed).Reader, size), make([]byte, chunk)); err != nil {
		t.Fatal(err)
	}
	return path
}

// punch makes [off, off+n) of a file a hole.
func punch(path string, off, n int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}

// same fails t unless two files hold the same bytes.
func same(t *testing.T, a, b string) {
	t.Helper()
	fa, err := os.Open(a)
	if err != nil {
		t.Fatal(err)
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		t.Fatal(err)
	}
	defer fb.Close()
	pa, pb := make([]byte, chunk), make([]byte, chunk)
	for off := int64(0); ; off += chunk {
		na, errA := io.ReadFull(fa, pa)
		nb, errB := io.ReadFull(fb, pb)
		if na != nb || !bytes.Equal(pa[:na], pb[:nb]) {
			t.Fatalf("%s and %s differ in the %d bytes at %d (lengths there: %d, %d)", a, b, chunk, off, na, nb)
		}
		if errA != nil || errB != nil {
			return
		}
	}
}

// logSize bounds, in bytes, what precedes a leg's guards and differs between
// legs: the first superblock and the log. It is also what areas are aligned to.
const logSize = 1 << 20

// legsEqual compares the guards and the data of two leg files of a closed pool
// itself. Of holdfast it asks only how long the data, which lie at the end but for
// the second superblock, and the journal before them are. The journals may differ:
// a leg that has been away keeps what lies beyond the end of its own.
func legsEqual(t *testing.T, p *pool) {
	t.Helper()
	status := p.anyStatus() // a stopped pool is no sound one
	st, err := os.Stat(p.legs[0])
	if err != nil {
		t.Fatal(err)
	}
	data := st.Size() - pageSize - status.Size
	if status.Size <= 0 || status.Journal.Size <= 0 || data < logSize {
		t.Fatalf("a leg of %d bytes has %d of data and %d of a journal", st.Size(), status.Size, status.Journal.Size)
	}
	rangeEqual(t, p, logSize, data-status.Journal.Size-logSize)
	rangeEqual(t, p, data, data+status.Size)
}

// rangeEqual compares [off, end) of the first two legs.
func rangeEqual(t *testing.T, p *pool, off, end int64) {
	t.Helper()
	var legs [2]*os.File
	for i := range legs {
		f, err := os.Open(p.legs[i])
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		legs[i] = f
	}
	pa, pb := make([]byte, chunk), make([]byte, chunk)
	for ; off < end; off += chunk {
		n := min(chunk, end-off)
		_, errA := legs[0].ReadAt(pa[:n], off)
		_, errB := legs[1].ReadAt(pb[:n], off)
		if err := errors.Join(errA, errB); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(pa[:n], pb[:n]) {
			t.Errorf("the legs differ in the %d bytes at %d", n, off)
		}
	}
}
