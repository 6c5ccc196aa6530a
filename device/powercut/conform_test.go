package powercut_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"go.uber.org/goleak"
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/devicetest"
	"holdfast.dev/holdfast/device/powercut"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConforms(t *testing.T) {
	devicetest.Run(t, func(t *testing.T, size int64) device.Device {
		return new(powercut.Supply).NewDisk("disk", size)
	})
}

func TestSurvivorConforms(t *testing.T) {
	seed := devicetest.Seed(t)
	devicetest.Run(t, func(t *testing.T, size int64) device.Device {
		s := new(powercut.Supply)
		d := s.NewDisk("disk", size)
		write(t, d, bytes.Repeat([]byte{7}, 9999), 1000)
		return s.Survivors(devicetest.Rand(seed, 1), powercut.Mixed)[0]
	})
}

// The operation that the power fails in and all that follow fail, on every
// disk, whatever they are.
func TestCutAfter(t *testing.T) {
	s := new(powercut.Supply)
	a, b := s.NewDisk("a", 1<<20), s.NewDisk("b", 1<<20)
	write(t, a, []byte("before"), 0)
	s.CutAfter(4)
	ops := []func() error{
		func() error { _, err := a.WriteAt([]byte{1}, 0); return err },
		b.Flush,
		func() error { return a.Discard(0, 4096) },
		func() error { return b.WriteZeroes(0, 4096) },
	}
	for i, op := range ops {
		if _, err := a.ReadAt(make([]byte, 1), 0); err != nil {
			t.Fatalf("read before the cut: %v", err)
		}
		if s.Lost() {
			t.Fatalf("the power is gone before operation %d", i+1)
		}
		if err := op(); (err != nil) != (i == 3) || i == 3 && !errors.Is(err, powercut.ErrPowerLost) {
			t.Fatalf("operation %d: %v", i+1, err)
		}
	}
	if s.Ops() != 5 || !s.Lost() {
		t.Errorf("%d operations counted, lost: %v", s.Ops(), s.Lost())
	}
	_, read := b.ReadAt(make([]byte, 1), 0)
	for _, err := range []error{read, ops[0](), ops[1](), ops[2](), ops[3]()} {
		if !errors.Is(err, powercut.ErrPowerLost) || !errors.Is(err, device.ErrIO) {
			t.Errorf("after the cut: %v", err)
		}
	}
}

func TestCutAtOnce(t *testing.T) {
	s := new(powercut.Supply)
	d := s.NewDisk("disk", 4096)
	s.Cut()
	if err := d.Flush(); !errors.Is(err, powercut.ErrPowerLost) || !s.Lost() {
		t.Error(err)
	}
}

// client appends numbered records, each a sector, and remembers the last one
// that it may rely on.
type client struct {
	d       *powercut.Disk
	flushes bool // without, it is broken
	relied  int
}

func (c *client) run(records int) error {
	for i := 1; i <= records; i++ {
		if _, err := c.d.WriteAt(record(i), int64(i)*512); err != nil {
			return err
		}
		if c.flushes {
			if err := c.d.Flush(); err != nil {
				return err
			}
		}
		c.relied = i
	}
	return nil
}

func record(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 512) }

// holds says whether every record that was relied on is on the disk.
func (c *client) holds(t *testing.T, d *powercut.Disk) bool {
	for i := 1; i <= c.relied; i++ {
		p := make([]byte, 512)
		if _, err := d.ReadAt(p, int64(i)*512); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p, record(i)) {
			return false
		}
	}
	return true
}

// A client that flushes before it relies on a record loses none, wherever the
// cut falls; one that does not is caught.
func TestBrokenClientIsCaught(t *testing.T) {
	seed := devicetest.Seed(t)
	caught := func(flushes bool) (n int) {
		for run := range uint64(200) {
			rng := devicetest.Rand(seed, run)
			s := new(powercut.Supply)
			c := &client{d: s.NewDisk("disk", 64<<20), flushes: flushes}
			s.CutAfter(1 + rng.IntN(15))
			if err := c.run(20); !errors.Is(err, powercut.ErrPowerLost) {
				t.Fatal(err)
			}
			if !c.holds(t, s.Survivors(rng, powercut.Mixed)[0]) {
				n++
			}
		}
		return n
	}
	if n := caught(true); n != 0 {
		t.Errorf("a sound client lost records in %d of 200 runs", n)
	}
	if n := caught(false); n < 50 {
		t.Errorf("a client that never flushes lost records in only %d of 200 runs", n)
	}
}

func write(t testing.TB, d device.Device, p []byte, off int64) {
	t.Helper()
	if _, err := d.WriteAt(p, off); err != nil {
		t.Fatal(err)
	}
}

func flush(t testing.TB, d device.Device) {
	t.Helper()
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkSurvivors: what one seed of a sampling test costs beside the code
// under test: a 64 MiB disk with 4 MiB on it, and 100 writes not flushed.
func BenchmarkSurvivors(b *testing.B) {
	s := new(powercut.Supply)
	d := s.NewDisk("disk", 64<<20)
	write(b, d, bytes.Repeat([]byte{1}, 4<<20), 0)
	flush(b, d)
	for i := range int64(100) {
		write(b, d, make([]byte, 4096), i*8192)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	for b.Loop() {
		s.Survivors(rng, powercut.Sectors)
	}
}
