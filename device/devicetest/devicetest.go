// Package devicetest is the conformance suite of block devices: what every
// device.Device promises, as tests that each implementation runs.
//
// The suite knows only the interface. The numbers in the names of its tests are
// those of the promises in package device; that flushed data outlives a crash
// (3) is not among them, since it takes a device that can crash.
//
// All randomness comes from one seed, which is printed when a test fails.
// HOLDFAST_SEED=n runs the suite with that seed again.
package devicetest

import (
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"holdfast.dev/holdfast/device"
)

// deviceSize is the size in bytes that the suite asks for: large enough for a
// few chunks or regions of any layer, and small enough to compare whole.
const deviceSize = 1<<20 + 512

// Open makes a device of at least half and at most twice the given size, with
// any content. The suite closes it.
type Open func(t *testing.T, size int64) device.Device

// Option adapts the suite to a device.
type Option func(*suite)

// Multiple makes the suite ask only for sizes that are multiples of n bytes.
// Without it they are multiples of 512.
func Multiple(n int64) Option { return func(s *suite) { s.multiple = n } }

type suite struct {
	open     Open
	multiple int64
	seed     uint64
}

// Run tests the devices that open makes.
func Run(t *testing.T, open Open, options ...Option) {
	s := &suite{open: open, multiple: device.SectorSize, seed: Seed(t)}
	for _, o := range options {
		o(s)
	}
	for _, test := range []struct {
		name string
		run  func(*suite, *testing.T)
	}{
		{"Bounds", (*suite).bounds},
		{"1AnyOffsetAndLength", (*suite).anyOffset},
		{"2DisjointWriters", (*suite).disjointWriters},
		{"2SectorsAreWhole", (*suite).wholeSectors},
		{"34AgainstAModel", (*suite).againstModel},
		{"4ReadsAsZeros", (*suite).readsAsZeros},
		{"6BufferIsTheCallers", (*suite).buffers},
		{"Extents", (*suite).extents},
		{"Vectored", (*suite).vectored},
		{"Scattered", (*suite).scattered},
		{"FlushBesideWrites", (*suite).flushBesideWrites},
		{"Closed", (*suite).closed},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(s, t) })
	}
}

// Seed returns the seed of a test run: HOLDFAST_SEED if that is set, otherwise
// one that differs between runs. It is printed if the test fails.
func Seed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv("HOLDFAST_SEED"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatalf("HOLDFAST_SEED=%q: %v", v, err)
		}
		seed = n
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("run it again with HOLDFAST_SEED=%d", seed)
		}
	})
	return seed
}

// Rand returns the generator of one stream of a seed.
func Rand(seed, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }

// device makes a device that is closed at the end of the test.
func (s *suite) device(t *testing.T) device.Device {
	t.Helper()
	want := (int64(deviceSize) + s.multiple - 1) / s.multiple * s.multiple
	d := s.open(t, want)
	t.Cleanup(func() {
		if err := d.Close(); err != nil && !errors.Is(err, device.ErrClosed) {
			t.Errorf("Close: %v", err)
		}
	})
	if size := d.Size(); size < want/2 || size > 2*want {
		t.Fatalf("Size() = %d of a device made with %d", size, want)
	}
	return d
}

func (s *suite) rand(stream uint64) *rand.Rand { return Rand(s.seed, stream) }
