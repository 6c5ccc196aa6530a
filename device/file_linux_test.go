package device_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/devicetest"
)

func TestFileConforms(t *testing.T) {
	for _, c := range []struct {
		name string
		dir  func(*testing.T) string
		o    device.FileOptions
	}{
		{"Direct", (*testing.T).TempDir, device.FileOptions{}},
		{"Buffered", (*testing.T).TempDir, device.FileOptions{Buffered: true}},
		{"Tmpfs", tmpfs, device.FileOptions{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := c.dir(t)
			devicetest.Run(t, func(t *testing.T, size int64) device.Device {
				return open(t, create(t, dir, size), c.o)
			})
		})
	}
}

func TestFileConformsOnBlockDevice(t *testing.T) {
	for name, o := range map[string]device.FileOptions{"Direct": {}, "Buffered": {Buffered: true}} {
		t.Run(name, func(t *testing.T) {
			devicetest.Run(t, func(t *testing.T, size int64) device.Device {
				return open(t, loopDevice(t, size), o)
			})
		})
	}
}

// Direct writes are not undone by buffered ones beside them to another sector of
// the page. The sizes make the kernel handle the block device by whole pages.
func TestBufferedAndDirectWritesOfOnePage(t *testing.T) {
	for name, path := range map[string]func(t *testing.T) string{
		"File":  func(t *testing.T) string { return create(t, t.TempDir(), 1<<20) },
		"Block": func(t *testing.T) string { return loopDevice(t, 1<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			f := open(t, path(t), device.FileOptions{})
			var g sync.WaitGroup
			var left atomic.Int64
			for sector := range int64(4) {
				left.Add(1)
				g.Go(func() {
					defer left.Add(-1)
					rewriteSector(t, f, sector*512)
				})
			}
			g.Go(func() {
				for left.Load() > 0 {
					if _, err := f.WriteAt([]byte{1}, 4095); err != nil {
						t.Error(err)
					}
				}
			})
			g.Wait()
		})
	}
}

// rewriteSector writes a sector many times, directly where the device allows it,
// and reads each back.
func rewriteSector(t *testing.T, f *device.File, off int64) {
	p, got := device.Aligned(512), device.Aligned(512)
	for i := range 1000 {
		for j := range p {
			p[j] = byte(i)
		}
		if _, err := f.WriteAt(p, off); err != nil {
			t.Error(err)
			return
		}
		if _, err := f.ReadAt(got, off); err != nil || !bytes.Equal(got, p) {
			t.Errorf("write %d of the sector at %d is gone: %v", i, off, err)
			return
		}
	}
}

func TestOpenFileIsExclusive(t *testing.T) {
	paths := map[string]string{"File": create(t, t.TempDir(), 4096)}
	if os.Getuid() == 0 {
		paths["Block"] = loopDevice(t, 1<<20)
	}
	readOnly := device.FileOptions{ReadOnly: true}
	for name, path := range paths {
		t.Run(name, func(t *testing.T) {
			f := open(t, path, device.FileOptions{})
			for _, o := range []device.FileOptions{{}, readOnly} {
				_, err := device.OpenFile(path, o)
				if !errors.Is(err, device.ErrBusy) || !strings.Contains(err.Error(), path) {
					t.Errorf("second OpenFile(%+v): %v", o, err)
				}
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			f = open(t, path, readOnly)
			if _, err := device.OpenFile(path, device.FileOptions{}); !errors.Is(err, device.ErrBusy) {
				t.Errorf("OpenFile beside a reader: %v", err)
			}
			f.Close()
			open(t, path, device.FileOptions{}).Close()
		})
	}
}

// Two readers share a file. A block device has one at a time: its claim has no
// shared form.
func TestReadersShareAFile(t *testing.T) {
	path := create(t, t.TempDir(), 4096)
	for range 2 {
		open(t, path, device.FileOptions{ReadOnly: true})
	}
}

func TestReadOnlyRefusesChanges(t *testing.T) {
	f := open(t, create(t, t.TempDir(), 8192), device.FileOptions{ReadOnly: true})
	_, write := f.WriteAt([]byte("x"), 0)
	_, writeVec := f.WriteVecAt([][]byte{{1}}, 0)
	for name, err := range map[string]error{
		"write": write, "writevec": writeVec, "scatter": f.WriteScattered([]device.Part{{P: []byte{1}}}), "discard": f.Discard(0, 512), "zero": f.WriteZeroes(0, 512),
	} {
		if !errors.Is(err, device.ErrReadOnly) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := f.ReadAt(device.Aligned(4096), 0); err != nil {
		t.Error(err)
	}
	if err := f.Flush(); err != nil {
		t.Error(err)
	}
}

func TestOpenFileRefusesWhatIsNoDevice(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, "/dev/null", filepath.Join(dir, "missing")} {
		_, err := device.OpenFile(path, device.FileOptions{})
		if !errors.Is(err, device.ErrIO) || !strings.Contains(err.Error(), path) {
			t.Errorf("OpenFile(%s): %v", path, err)
		}
	}
	_, err := device.OpenFile(filepath.Join(dir, "missing"), device.FileOptions{})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the cause is lost: %v", err)
	}
}

func TestTruncatedFileIsAnError(t *testing.T) {
	for _, n := range []int{4096, 100} { // direct and buffered
		path := create(t, t.TempDir(), 8192)
		f := open(t, path, device.FileOptions{})
		if err := os.Truncate(path, 6000); err != nil {
			t.Fatal(err)
		}
		done, err := f.ReadAt(device.Aligned(n), 8192-int64(n))
		if !errors.Is(err, device.ErrIO) || done == n {
			t.Errorf("read of %d bytes past the end: %d, %v", n, done, err)
		}
	}
}

func TestFullFileSystem(t *testing.T) {
	dir := t.TempDir()
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system takes root")
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64k", "none", dir).CombinedOutput(); err != nil {
		t.Skipf("cannot mount a tmpfs here: %v: %s", err, out)
	}
	f := open(t, create(t, dir, 1<<20), device.FileOptions{})
	t.Cleanup(func() {
		f.Close()
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	n, err := f.WriteAt(make([]byte, 1<<20), 0)
	if !errors.Is(err, device.ErrNoSpace) || n > 64<<10 {
		t.Errorf("write of 1 MiB into 64 KiB: %d, %v", n, err)
	}
	if err := f.WriteZeroes(0, 1<<20); !errors.Is(err, device.ErrNoSpace) {
		t.Errorf("zero 1 MiB in 64 KiB: %v", err)
	}
}

func TestDiscardGivesSpaceBack(t *testing.T) {
	path := create(t, t.TempDir(), 1<<20)
	f := open(t, path, device.FileOptions{})
	if _, err := f.WriteAt(make([]byte, 1<<20), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.WriteZeroes(0, 1<<20); err != nil {
		t.Fatal(err)
	}
	if got := allocated(t, path); got < 1<<20 {
		t.Errorf("zeroing left %d bytes allocated", got)
	}
	if err := f.Discard(0, 1<<20); err != nil {
		t.Fatal(err)
	}
	if got := allocated(t, path); got >= 64<<10 {
		t.Errorf("the discard left %d bytes allocated", got)
	}
}

func TestCreateFile(t *testing.T) {
	path := create(t, t.TempDir(), 1<<40)
	if got := allocated(t, path); got != 0 {
		t.Errorf("%d bytes allocated", got)
	}
	if f := open(t, path, device.FileOptions{}); f.Size() != 1<<40 {
		t.Errorf("size %d", f.Size())
	}
	if err := device.CreateFile(path, 512); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file that exists: %v", err)
	}
	bad := filepath.Join(t.TempDir(), "negative")
	if err := device.CreateFile(bad, -1); err == nil {
		t.Error("a negative size passed")
	}
	if _, err := os.Stat(bad); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a failed create left a file behind: %v", err)
	}
}
