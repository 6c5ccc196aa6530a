package cache

import (
	"bytes"
	"errors"
	"slices"
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
	// spreads are the sizes of what was written scattered; with torn these fail, half
	// done.
	spreads []int
	torn    bool
	gathers [][]int64 // the pages where what was read together begins
	// syncs has batches flushed that are taken whole; within is called then.
	syncs  bool
	within func()
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

func (d *together) SyncBatch(parts []device.Part) (int, bool, error) {
	n, err := d.WriteBatch(parts)
	if d.within != nil {
		d.within()
	}
	return n, d.syncs && err == nil && n == len(parts), err
}

func (d *together) ReadScattered(parts []device.Part) error {
	if err := d.op("gather", parts[0].Off, 0); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var pages []int64
	for _, p := range parts {
		pages = append(pages, p.Off/PageSize)
	}
	d.gathers = append(d.gathers, pages)
	return device.ReadScattered(d.Device, parts)
}

func (d *together) WriteScattered(parts []device.Part) error {
	if err := d.op("scatter", parts[0].Off, 0); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spreads = append(d.spreads, len(parts))
	if d.torn {
		_ = device.WriteScattered(d.Device, parts[:len(parts)/2])
		return errors.New("torn")
	}
	return device.WriteScattered(d.Device, parts)
}

func togetherBench(t *testing.T, most int, err error) (*bench, *together) {
	d := &together{store: newStore(2048), most: most, err: err}
	b := benchOn(t, d.store, Options{Manual: true, Budget: 4 * MinBudget}, MappingOptions{})
	b.m.backing = d
	return b, d
}

// What is small and scattered goes to the backing together: if a flush follows
// offered as a batch first, up to a MiB at a time, and what that does not take, or
// fails in, scattered, a few at a time. If that fails too, it is written run by run.
// What is large goes by itself.
func TestGather(t *testing.T) {
	fault := errors.New("some part failed")
	tick := func(b *bench) error {
		b.c.Tick()
		b.c.Tick()
		return nil
	}
	for _, c := range []struct {
		what    string
		most    int
		err     error
		torn    bool
		write   func(b *bench)
		clean   func(b *bench) error
		batches []int
		spreads []int
		writes  int
	}{
		{"scattered pages", 1e6, nil, false, scattered(32), (*bench).syncErr, []int{32}, nil, 0},
		{"more than a MiB", 1e6, nil, false, scattered(300), (*bench).syncErr, []int{256, 44}, nil, 0},
		{"not all is taken", 5, nil, false, scattered(32), (*bench).syncErr, []int{32}, []int{27}, 0},
		{"none is taken", 0, nil, false, scattered(300), (*bench).syncErr, []int{256, 44}, []int{32, 32, 32, 32, 32, 32, 32, 32, 32, 12}, 0},
		{"some part fails", 7, fault, false, scattered(32), (*bench).syncErr, []int{32}, []int{25}, 0},
		{"and again", 7, fault, true, scattered(32), (*bench).syncErr, []int{32}, []int{25}, 25},
		{"all but one is taken", 31, nil, false, scattered(32), (*bench).syncErr, []int{32}, nil, 1},
		{"a long run among them", 1e6, nil, false, func(b *bench) {
			scattered(4)(b)
			b.write(fill((gatherRun+1)*PageSize, 9), 100*PageSize)
		}, (*bench).syncErr, []int{4}, nil, 1},
		{"no flush follows", 1e6, nil, false, scattered(40), func(b *bench) error { return b.m.SyncRange(0, b.m.Size()) }, nil, []int{32, 8}, 0},
		{"nobody waits", 1e6, nil, false, scattered(40), tick, nil, []int{32, 8}, 0},
		{"nobody waits, and it fails", 1e6, nil, true, scattered(40), tick, nil, []int{32, 8}, 40},
		{"short runs", 1e6, nil, false, func(b *bench) {
			b.write(fill(gatherRun*PageSize, 1), 0)
			b.write(fill(2*PageSize, 2), 9*PageSize)
		}, tick, nil, []int{2}, 0},
		{"sectors", 1e6, nil, false, func(b *bench) {
			b.write(fill(512, 1), 0)
			b.write(fill(512, 2), 2048)
			b.write(fill(512, 3), 9*PageSize)
		}, (*bench).syncErr, []int{3}, nil, 0},
		{"half of a page is taken", 1, nil, false, func(b *bench) {
			b.write(fill(512, 1), 0)
			b.write(fill(512, 2), 2048)
			b.write(fill(512, 3), 9*PageSize)
		}, (*bench).syncErr, []int{3}, []int{3}, 0},
	} {
		t.Run(c.what, func(t *testing.T) {
			b, d := togetherBench(t, c.most, c.err)
			d.torn = c.torn
			c.write(b)
			if err := c.clean(b); err != nil {
				t.Fatal(err)
			}
			if got := d.count("write"); got != c.writes || !slices.Equal(d.batches, c.batches) || !slices.Equal(d.spreads, c.spreads) {
				t.Errorf("batches of %v, %v scattered and %d writes, want %v, %v and %d", d.batches, d.spreads, got, c.batches, c.spreads, c.writes)
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

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
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
	for _, most := range []int{0, 1e6} {
		b, d := togetherBench(t, most, nil)
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
}

// While a walk has gathered pages it waits for nothing: here there are fewer
// snapshots than pages to write from one, and nobody else to give one back.
func TestGatherHoldsNothingBack(t *testing.T) {
	b, d := togetherBench(t, 1e6, nil)
	scattered(3 * snapshotCount)(b)
	b.m.exposed.Store(true)
	b.sync()
	if !slices.Equal(d.batches, []int{snapshotCount, snapshotCount, snapshotCount}) {
		t.Errorf("batches of %v", d.batches)
	}
}

// What a batch has made stable takes no flush, nor does what was written before; but
// a batch that was not taken whole, or what was written beside it, does. Where a flush
// is under way a batch waits for none, and is flushed after.
func TestSyncInOneTurn(t *testing.T) {
	fault := errors.New("fault")
	for _, c := range []struct {
		what    string
		most    int
		err     error
		syncs   bool
		before  func(b *bench)
		within  func(b *bench)
		flushes int
	}{
		{"alone", 1e6, nil, true, nil, nil, 0},
		{"after what was written out", 1e6, nil, true, func(b *bench) { must(b.t, b.m.SyncRange(0, b.m.Size())) }, nil, 0},
		{"not flushed", 1e6, nil, false, func(b *bench) { must(b.t, b.m.SyncRange(0, b.m.Size())) }, nil, 1},
		{"not flushed, and nothing before", 1e6, nil, false, nil, nil, 1},
		{"not taken whole", 3, nil, true, nil, nil, 1},
		{"failed", 3, fault, true, nil, nil, 1},
		{"beside another write-out", 1e6, nil, true, nil, func(b *bench) {
			b.write(fill(PageSize, 7), 900*PageSize)
			must(b.t, b.m.SyncRange(900*PageSize, PageSize))
		}, 1},
		{"beside a discard", 1e6, nil, true, nil, func(b *bench) { must(b.t, b.h.Discard(900*PageSize, PageSize)) }, 1},
	} {
		t.Run(c.what, func(t *testing.T) {
			b, d := togetherBench(t, c.most, c.err)
			d.syncs = c.syncs
			b.write(fill(PageSize, 1), 800*PageSize)
			if c.before != nil {
				c.before(b)
			} else {
				b.sync()
				d.calls["flush"] = 0
			}
			scattered(8)(b)
			if c.within != nil {
				d.within = func() { c.within(b) }
			}
			must(t, b.h.Sync())
			if got := d.count("flush"); got != c.flushes {
				t.Errorf("%d flushes", got)
			}
			if s := b.c.Stats(); s.Dirty != 0 || b.m.tags.unstable.any() {
				t.Errorf("something is not stable: %+v", s)
			}
			d.within = nil
			d.fail("flush", fault)
			must(t, b.h.Sync()) // there is nothing to be flushed
		})
	}
}

// What was written before a batch that was not flushed at once is written again if
// the flush that follows fails.
func TestSyncThatFailsAfterABatch(t *testing.T) {
	b, d := togetherBench(t, 1e6, nil)
	b.write(fill(PageSize, 1), 800*PageSize)
	must(t, b.m.SyncRange(0, b.m.Size()))
	scattered(8)(b)
	d.fail("flush", errors.New("fault"))
	if err := b.h.Sync(); err == nil {
		t.Error("a sync whose flush failed succeeded")
	}
	if s := b.c.Stats(); s.Dirty != 9*PageSize {
		t.Errorf("%+v", s)
	}
}

// A batch is not flushed with others beside a flush that is under way: that may be
// waiting for what the batch has claimed.
func TestSyncBesideAFlush(t *testing.T) {
	b, d := togetherBench(t, 1e6, nil)
	d.syncs = true
	in, out, done := make(chan struct{}), make(chan struct{}), make(chan error)
	b.write(fill(PageSize, 1), 0)
	must(t, b.m.SyncRange(0, PageSize))
	b.s.setBefore(func(op string, _, _ int64) {
		if op == "flush" {
			b.s.setBefore(nil)
			close(in)
			<-out
		}
	})
	go func() { done <- b.m.stabilize() }()
	<-in
	b.s.setBefore(func(op string, _, _ int64) {
		if op == "batch" {
			close(out)
		}
	})
	scattered(4)(b)
	must(t, b.h.Sync())
	must(t, <-done)
	if got := d.count("flush"); got != 2 {
		t.Errorf("%d flushes", got)
	}
}

// A flush that was not made leaves all that it was to cover to the next.
func TestUndoneFlush(t *testing.T) {
	u := &newTags(256).unstable
	u.add(3, 1)
	u.add(200, 2)
	u.note()
	other := u.begin()
	u.add(3, 1)
	u.add(7, 1)
	u.undo(other)
	for _, n := range []int64{3, 7, 200, 201} {
		if u.isStable(n) {
			t.Errorf("page %d needs no flush", n)
		}
	}
	if other := u.begin(); !other || u.flushing.count.Load() != 4 {
		t.Errorf("the next covers %d pages, and others: %v", u.flushing.count.Load(), other)
	}
	u.succeed()
	if u.any() {
		t.Error("something waits for a flush")
	}
}
