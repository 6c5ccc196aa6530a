package cache

import (
	"bytes"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/devicetest"
)

// asDevice lets a handle pass for a device.
type asDevice struct{ *Handle }

func (d asDevice) Flush() error { return d.Sync() }

// WriteScattered makes it one that reads scattered parts by its own means, too.
func (d asDevice) WriteScattered(parts []device.Part) error {
	for _, p := range parts {
		if _, err := d.WriteAt(p.P, p.Off); err != nil {
			return err
		}
	}
	return nil
}

func TestHandleIsADevice(t *testing.T) {
	for _, st := range []Stability{StabilityWait, StabilityCopy} {
		t.Run(string(st), func(t *testing.T) {
			devicetest.Run(t, func(t *testing.T, size int64) device.Device {
				b := newBench(t, size/PageSize, Options{Interval: 1e6, Age: 1e6}, MappingOptions{Stability: st})
				return asDevice{b.h}
			}, devicetest.Multiple(PageSize))
		})
	}
}

// Random operations by one task, checked against a slice of bytes after each,
// in a volume four times the budget, with everything that can happen to a page
// happening often. What the backing holds is checked after each sync.
func TestModel(t *testing.T) {
	for _, st := range []Stability{StabilityWait, StabilityCopy} {
		for _, manual := range []bool{true, false} {
			t.Run(string(st)+map[bool]string{true: "-manual", false: ""}[manual], func(t *testing.T) {
				runModel(t, st, manual)
			})
		}
	}
}

func runModel(t *testing.T, st Stability, manual bool) {
	const pages = 4 * MinBudget / PageSize
	size := int64(pages * PageSize)
	rng := newRand(t)
	b := newBench(t, pages, Options{Manual: manual, Interval: 1e5, Age: 1e5}, MappingOptions{Stability: st})
	model := make([]byte, size)
	place := func() (off, n int64) {
		n = rng.Int64N(3*PageSize) + 1
		if rng.IntN(20) == 0 {
			n = rng.Int64N(2 << 20)
		}
		off = rng.Int64N(size)
		if rng.IntN(2) == 0 {
			off, n = off&^511, (n+511)&^511
		}
		return off, min(n, size-off)
	}
	steps := 6000
	if testing.Short() {
		steps = 1500
	}
	for step := range steps {
		off, n := place()
		switch rng.IntN(20) {
		default:
			if got := b.read(off, n); !bytes.Equal(got, model[off:off+n]) {
				t.Fatalf("step %d: read of %d bytes at %d differs (seed %d)", step, n, off, *seedFlag)
			}
		case 0, 1, 2, 3, 4, 5, 6:
			p := make([]byte, n)
			for i := range p {
				p[i] = byte(step + i/256)
			}
			done := 0
			if rng.IntN(2) == 0 {
				done = b.h.TryWriteAt(p, off)
			}
			b.write(p[done:], off+int64(done))
			copy(model[off:], p)
		case 7:
			if err := b.h.Discard(off, n); err != nil {
				t.Fatal(err)
			}
			clear(model[off : off+n])
		case 8:
			if err := b.h.WriteZeroes(off, n); err != nil {
				t.Fatal(err)
			}
			clear(model[off : off+n])
		case 9:
			if err := b.h.SyncRange(off, n); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b.stored(off, n), model[off:off+n]) {
				t.Fatalf("step %d: the backing differs after a sync of %d bytes at %d (seed %d)", step, n, off, *seedFlag)
			}
			if step%20 == 0 {
				b.guardsFit()
			}
		case 10:
			b.c.writeSome(16)
		case 11:
			b.c.evict(64)
		case 12:
			if err := b.h.Prefetch(off, n); err != nil {
				t.Fatal(err)
			}
		case 13:
			if rng.IntN(10) == 0 {
				cut := rng.Int64N(pages+1) * PageSize
				if err := b.m.Truncate(cut, RefusePinned); err != nil {
					t.Fatal(err)
				}
				if err := b.m.Truncate(size, RefusePinned); err != nil {
					t.Fatal(err)
				}
				clear(model[cut:])
			}
		case 14:
			if manual {
				b.c.Tick()
			}
		case 15, 16:
			parts := make([]device.Part, rng.IntN(20))
			for i := range parts {
				off, n := place()
				parts[i] = device.Part{P: make([]byte, min(n, 4*PageSize)), Off: off}
			}
			if err := b.h.ReadScattered(parts); err != nil {
				t.Fatal(err)
			}
			for _, p := range parts {
				if !bytes.Equal(p.P, model[p.Off:p.Off+int64(len(p.P))]) {
					t.Fatalf("step %d: scattered read of %d bytes at %d differs (seed %d)", step, len(p.P), p.Off, *seedFlag)
				}
			}
		}
	}
	b.sync()
	if !bytes.Equal(b.stored(0, size), model) {
		t.Fatalf("the backing differs after the last sync (seed %d)", *seedFlag)
	}
	if n := b.s.outstanding(); n != 0 {
		t.Errorf("%d pages are still reserved after a sync", n)
	}
	if b.guardsFit() == 0 {
		t.Error("no page has a guard: the test tests less than it says")
	}
	if s := b.c.Stats(); s.Dirty != 0 || s.Resident > s.Budget {
		t.Errorf("after a sync: %+v", s)
	}
	if b.c.Stats().Evicted == 0 {
		t.Error("reclaim had nothing to do: the test tests less than it says")
	}
}
