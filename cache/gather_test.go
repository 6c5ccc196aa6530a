package cache

import (
	"bytes"
	"errors"
	"testing"

	"holdfast.dev/holdfast/device"
)

// together is a backing that takes batches, up to most parts of each; then it
// fails with err, if that is not nil.
type together struct {
	*store
	most    int
	err     error
	batches []int // their sizes
}

func (d *together) WriteBatch(parts []device.Part) (int, error) {
	if err := d.op("batch", parts[0].Off, 0); err != nil {
		return 0, err
	}
	d.batches = append(d.batches, len(parts))
	for i, p := range parts {
		if i == d.most {
			return i, d.err
		}
		if err := device.CheckGuards(p.P, p.Off, p.Sums); p.Sums != nil && err != nil {
			return i, err
		}
		if _, err := d.Device.WriteAt(p.P, p.Off); err != nil {
			return i, err
		}
	}
	return len(parts), nil
}

func togetherBench(t *testing.T, most int, err error) (*bench, *together) {
	d := &together{store: newStore(2048), most: most, err: err}
	b := benchOn(t, d.store, Options{Manual: true, Budget: 4 * MinBudget}, MappingOptions{})
	b.m.backing = d
	return b, d
}

// A sync offers what is small and scattered together, up to a MiB at a time, and
// writes what the backing does not take, or fails in, run by run. What is large,
// and what nobody waits for, goes by itself.
func TestGather(t *testing.T) {
	fault := errors.New("some part failed")
	for _, c := range []struct {
		what    string
		most    int
		err     error
		write   func(b *bench)
		sync    func(b *bench) error
		batches []int
		writes  int
	}{
		{"scattered pages", 1e6, nil, scattered(32), (*bench).syncErr, []int{32}, 0},
		{"more than a MiB", 1e6, nil, scattered(300), (*bench).syncErr, []int{256, 44}, 0},
		{"not all is taken", 5, nil, scattered(32), (*bench).syncErr, []int{32}, 27},
		{"none is taken", 0, nil, scattered(32), (*bench).syncErr, []int{32}, 32},
		{"some part fails", 7, fault, scattered(32), (*bench).syncErr, []int{32}, 25},
		{"a long run among them", 1e6, nil, func(b *bench) {
			scattered(4)(b)
			b.write(fill((gatherRun+1)*PageSize, 9), 100*PageSize)
		}, (*bench).syncErr, []int{4}, 1},
		{"no flush follows", 1e6, nil, scattered(32), func(b *bench) error { return b.m.SyncRange(0, b.m.Size()) }, nil, 32},
		{"sectors", 1e6, nil, func(b *bench) {
			b.write(fill(512, 1), 0)
			b.write(fill(512, 2), 2048)
			b.write(fill(512, 3), 9*PageSize)
		}, (*bench).syncErr, []int{3}, 0},
		{"half of a page is taken", 1, nil, func(b *bench) {
			b.write(fill(512, 1), 0)
			b.write(fill(512, 2), 2048)
			b.write(fill(512, 3), 9*PageSize)
		}, (*bench).syncErr, []int{3}, 3},
	} {
		t.Run(c.what, func(t *testing.T) {
			b, d := togetherBench(t, c.most, c.err)
			c.write(b)
			if err := c.sync(b); err != nil {
				t.Fatal(err)
			}
			if got := d.count("write"); got != c.writes || !equal(d.batches, c.batches) {
				t.Errorf("batches of %v and %d writes, want %v and %d", d.batches, got, c.batches, c.writes)
			}
			if !bytes.Equal(b.stored(0, b.m.Size()), b.read(0, b.m.Size())) {
				t.Error("what is stored is not what was written")
			}
			if s := b.c.Stats(); s.Dirty != 0 || d.outstanding() != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

func equal(a, b []int) bool {
	for i := range a {
		if i >= len(b) || a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

func (b *bench) syncErr() error { return b.h.Sync() }

// scattered writes n pages, none beside another.
func scattered(n int64) func(b *bench) {
	return func(b *bench) {
		for i := range n {
			b.write(fill(PageSize, byte(i+1)), 3*i*PageSize)
		}
	}
}

// Of a batch in which a page does not fit its sum, only that page fails.
func TestGatherTellsWhichPageIsDamaged(t *testing.T) {
	b, d := togetherBench(t, 1e6, nil)
	scattered(8)(b)
	b.m.arena.frames(9, 1)[17] ^= 1
	if err := b.h.Sync(); !errors.Is(err, device.ErrGuard) {
		t.Errorf("sync: %v", err)
	}
	for i := range int64(8) {
		if got := b.stored(3*i*PageSize, 1)[0]; (got == byte(i+1)) == (i == 3) {
			t.Errorf("page %d is stored as %d", 3*i, got)
		}
	}
	if d.outstanding() != 1 {
		t.Errorf("%d pages are dirty", d.outstanding())
	}
}

// While a walk has gathered pages it waits for nothing: here there are fewer
// snapshots than pages to write from one, and nobody else to give one back.
func TestGatherHoldsNothingBack(t *testing.T) {
	b, d := togetherBench(t, 1e6, nil)
	scattered(3 * snapshotCount)(b)
	b.m.exposed.Store(true)
	b.sync()
	if !equal(d.batches, []int{snapshotCount, snapshotCount, snapshotCount}) {
		t.Errorf("batches of %v", d.batches)
	}
}
