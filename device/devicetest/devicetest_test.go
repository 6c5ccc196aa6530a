package devicetest_test

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/devicetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// base is a sound device that the broken ones change one thing of.
type base = device.Mem

type keepsBuffer struct {
	*base
	kept []byte
	at   int64
}

// WriteAt leaves some of the work to the next read.
func (d *keepsBuffer) WriteAt(p []byte, off int64) (int, error) {
	d.kept, d.at = p, off
	return d.base.WriteAt(p, off)
}

func (d *keepsBuffer) ReadAt(p []byte, off int64) (int, error) {
	if d.kept != nil {
		d.base.WriteAt(d.kept, d.at)
		d.kept = nil
	}
	return d.base.ReadAt(p, off)
}

type changesBuffer struct{ *base }

func (d changesBuffer) WriteAt(p []byte, off int64) (int, error) {
	n, err := d.base.WriteAt(p, off)
	if len(p) > 100 {
		p[99]++
	}
	return n, err
}

type readsTooMuch struct{ *base }

func (d readsTooMuch) ReadAt(p []byte, off int64) (int, error) {
	n, err := d.base.ReadAt(p, off)
	if len(p) < cap(p) {
		p[:len(p)+1][len(p)]++
	}
	return n, err
}

type shortAtTheEnd struct{ *base }

func (d shortAtTheEnd) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > d.Size() && off >= 0 && off < d.Size() {
		return d.base.ReadAt(p[:d.Size()-off], off)
	}
	return d.base.ReadAt(p, off)
}

type writesSectors struct{ *base }

// WriteAt reads, changes and writes whole sectors, without a lock.
func (d writesSectors) WriteAt(p []byte, off int64) (int, error) {
	if err := device.CheckRange(d.Size(), off, int64(len(p))); err != nil {
		return 0, err
	}
	from, to := off/512*512, min((off+int64(len(p))+511)/512*512, d.Size())
	whole := make([]byte, to-from)
	if _, err := d.base.ReadAt(whole, from); err != nil {
		return 0, err
	}
	copy(whole[off-from:], p)
	runtime.Gosched()
	if _, err := d.base.WriteAt(whole, from); err != nil {
		return 0, err
	}
	return len(p), nil
}

type tears struct{ *base }

// WriteAt writes half a sector at a time.
func (d tears) WriteAt(p []byte, off int64) (int, error) {
	if err := device.CheckRange(d.Size(), off, int64(len(p))); err != nil {
		return 0, err
	}
	for done := 0; done < len(p); done += 256 {
		if n, err := d.base.WriteAt(p[done:min(done+256, len(p))], off+int64(done)); err != nil {
			return done + n, err
		}
		runtime.Gosched()
	}
	return len(p), nil
}

type discardsSectors struct{ *base }

func (d discardsSectors) Discard(off, n int64) error {
	from, to := (off+511)/512*512, (off+n)/512*512
	if n < 0 || to <= from {
		return d.base.Discard(off, min(n, 0))
	}
	return d.base.Discard(from, to-from)
}

type zeroesTooMuch struct{ *base }

func (d zeroesTooMuch) WriteZeroes(off, n int64) error {
	if off > 0 && n > 0 && off < d.Size() && n < d.Size()-off {
		off, n = off-1, n+1
	}
	return d.base.WriteZeroes(off, n)
}

type callsAllHoles struct{ *base }

func (d callsAllHoles) Extents(off, n int64, yield func(device.Extent) bool) error {
	return d.base.Extents(off, n, func(e device.Extent) bool { e.Hole = true; return yield(e) })
}

type leavesGaps struct{ *base }

func (d leavesGaps) Extents(off, n int64, yield func(device.Extent) bool) error {
	return d.base.Extents(off, n, func(e device.Extent) bool { return e.Hole || yield(e) })
}

type vectorsStop struct{ *base }

func (d vectorsStop) WriteVecAt(bufs [][]byte, off int64) (n int, err error) {
	return d.vec(d.base.WriteAt, bufs, off)
}

func (d vectorsStop) ReadVecAt(bufs [][]byte, off int64) (n int, err error) {
	return d.vec(d.base.ReadAt, bufs, off)
}

// vec forgets what is beyond as many buffers as one system call takes.
func (d vectorsStop) vec(one func([]byte, int64) (int, error), bufs [][]byte, off int64) (n int, err error) {
	for _, b := range bufs[:min(len(bufs), 1024)] {
		k, err := one(b, off+int64(n))
		if n += k; err != nil {
			return 0, err
		}
	}
	return n, nil
}

type staysOpen struct{ *base }

func (d staysOpen) Close() error { return nil }

// broken are devices that each break one promise, and the test that must say so.
var broken = map[string]struct {
	test string
	wrap func(*base) device.Device
}{
	"keepsBuffer":     {"6BufferIsTheCallers", func(b *base) device.Device { return &keepsBuffer{base: b} }},
	"changesBuffer":   {"6BufferIsTheCallers", func(b *base) device.Device { return changesBuffer{b} }},
	"readsTooMuch":    {"6BufferIsTheCallers", func(b *base) device.Device { return readsTooMuch{b} }},
	"shortAtTheEnd":   {"Bounds", func(b *base) device.Device { return shortAtTheEnd{b} }},
	"writesSectors":   {"2DisjointWriters", func(b *base) device.Device { return writesSectors{b} }},
	"tears":           {"2SectorsAreWhole", func(b *base) device.Device { return tears{b} }},
	"discardsSectors": {"4ReadsAsZeros", func(b *base) device.Device { return discardsSectors{b} }},
	"zeroesTooMuch":   {"34AgainstAModel", func(b *base) device.Device { return zeroesTooMuch{b} }},
	"callsAllHoles":   {"Extents", func(b *base) device.Device { return callsAllHoles{b} }},
	"leavesGaps":      {"Extents", func(b *base) device.Device { return leavesGaps{b} }},
	"vectorsStop":     {"Vectored", func(b *base) device.Device { return vectorsStop{b} }},
	"staysOpen":       {"Closed", func(b *base) device.Device { return staysOpen{b} }},
	"sound":           {"", func(b *base) device.Device { return b }},
}

// brokenEnv names the broken device that a child process tests.
const brokenEnv = "HOLDFAST_BROKEN_DEVICE"

// TestChild runs the suite on the device that the parent asks for.
func TestChild(t *testing.T) {
	name := os.Getenv(brokenEnv)
	if name == "" {
		t.Skip("only as a child of TestBrokenDevicesAreCaught")
	}
	devicetest.Run(t, func(t *testing.T, size int64) device.Device {
		return broken[name].wrap(device.NewMem(size))
	})
}

func TestBrokenDevicesAreCaught(t *testing.T) {
	for name, b := range broken {
		t.Run(name, func(t *testing.T) {
			only := "^" + b.test + "$"
			if b.test == "" {
				only = "" // the whole suite
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestChild$/"+only)
			cmd.Env = append(os.Environ(), brokenEnv+"="+name)
			out, err := cmd.CombinedOutput()
			want := "--- FAIL: TestChild/" + b.test
			if b.test == "" {
				if err != nil {
					t.Errorf("a sound device failed:\n%s", out)
				}
			} else if err == nil || !strings.Contains(string(out), want) {
				t.Errorf("it passed %s:\n%s", b.test, out)
			} else if !strings.Contains(string(out), "HOLDFAST_SEED=") {
				t.Errorf("the seed is not printed:\n%s", out)
			}
		})
	}
}
