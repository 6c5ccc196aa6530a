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

// metadataSize bounds, in bytes, what precedes a leg's data and differs between
// legs: the first superblock and the log.
const metadataSize = 1 << 20

// legsEqual compares two leg files of a closed pool itself, without asking
// holdfast: past the metadata only the last block, the second superblock, may
// differ.
func legsEqual(t *testing.T, a, b string) {
	t.Helper()
	var legs [2]*os.File
	for i, path := range []string{a, b} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		legs[i] = f
	}
	st, err := legs[0].Stat()
	if err != nil {
		t.Fatal(err)
	}
	pa, pb := make([]byte, chunk), make([]byte, chunk)
	for off := int64(metadataSize); off < st.Size()-pageSize; off += chunk {
		n := min(chunk, st.Size()-pageSize-off)
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
