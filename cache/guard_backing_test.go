package cache

import (
	"errors"
	"fmt"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/guard"
)

// keeper is a backing that keeps the sums it is handed.
type keeper struct {
	*store
	sums map[int64]uint32
	err  error
}

func (k *keeper) WriteGuarded(p []byte, off int64, sums []uint32) error {
	k.mu.Lock()
	for i, s := range sums {
		k.sums[off/PageSize+int64(i)] = s
	}
	err := k.err
	k.mu.Unlock()
	if err != nil {
		return err
	}
	_, err = k.store.WriteAt(p, off)
	return err
}

func keeperBench(t *testing.T, o Options) (*bench, *keeper) {
	k := &keeper{store: newStore(64), sums: map[int64]uint32{}}
	b := benchOn(t, k.store, o, MappingOptions{})
	b.m.backing = k
	return b, k
}

// The backing is handed the sum of every whole page, also of those that others
// may change, and takes it for what the bytes are checked with.
func TestSumsAreHandedOn(t *testing.T) {
	b, k := keeperBench(t, Options{Manual: true})
	b.write(fill(3*PageSize, 1), 0)
	b.write(fill(100, 2), PageSize+10)
	b.write(fill(512, 3), 10*PageSize) // not a whole page
	p := b.pin(5*PageSize, 2*PageSize, PinWrite)
	copy(p.Bytes(), fill(2*PageSize, 4))
	b.sync()
	p.Release()
	for n := range int64(11) {
		sum, handed := k.sums[n]
		if want := n <= 2 || n == 5 || n == 6; handed != want || handed && sum != guard.Sum(b.stored(n*PageSize, PageSize)) {
			t.Errorf("page %d: handed %v", n, handed)
		}
	}
}

// Where the cache finds nothing wrong with a page that the backing objects to, or
// has no guard of it, that is a failure like any other.
func TestBackingObjects(t *testing.T) {
	b, k := keeperBench(t, Options{Manual: true})
	k.err = fmt.Errorf("the test's backing: %w", device.ErrGuard)
	k.fail("write", k.err)
	b.write(fill(2*PageSize, 5), 0)
	b.write(fill(512, 6), 5*PageSize)
	if err := b.h.Sync(); !errors.Is(err, device.ErrGuard) {
		t.Errorf("sync: %v", err)
	}
	if b.read(0, 1)[0] != 5 || b.read(5*PageSize, 1)[0] != 6 || b.c.Stats().Damaged != 0 || b.c.Stats().Failed != 3*PageSize {
		t.Errorf("%+v", b.c.Stats())
	}
	k.err = nil
	k.fail("write", nil)
	b.sync()
}

func TestUnguarded(t *testing.T) {
	b, k := keeperBench(t, Options{Manual: true, Unguarded: true})
	b.read(9*PageSize, 1)
	b.write(fill(3*PageSize, 1), 0)
	b.flip(1, 0)
	b.sync()
	if len(k.sums) != 0 || b.guardsFit() != 0 {
		t.Errorf("%d sums were handed on", len(k.sums))
	}
	if got := b.stored(PageSize, 1); got[0] != 1^0x10 {
		t.Error("the page was not written as it is")
	}
}

// A damaged page is refused to those who map it, and its guard is not taken anew
// because somebody has the memory now.
func TestDamagedPageIsNotMapped(t *testing.T) { bothModes(t, damagedPageIsNotMapped) }

func damagedPageIsNotMapped(t *testing.T, async bool) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	b.write(fill(3*PageSize, 1), 0)
	b.flip(1, 5)
	if err := b.h.Sync(); !errors.Is(err, device.ErrGuard) {
		t.Fatal(err)
	}
	tab := b.attachAs(async)
	if err := tab.load(make([]byte, 1), PageSize); !errors.Is(err, device.ErrGuard) {
		t.Errorf("a load: %v", err)
	}
	if err := tab.store([]byte{1}, PageSize); !errors.Is(err, device.ErrGuard) {
		t.Errorf("a store: %v", err)
	}
	b.write(fill(PageSize, 6), 0)
	b.write(fill(PageSize, 7), 2*PageSize)
	if err := b.h.Sync(); !errors.Is(err, device.ErrGuard) {
		t.Errorf("sync after the mapping: %v", err)
	}
	if got := b.stored(0, 3*PageSize); got[0] != 6 || got[PageSize] != 0 || got[2*PageSize] != 7 || b.c.Stats().Unannounced != 0 {
		t.Errorf("written were %d %d %d, %+v", got[0], got[PageSize], got[2*PageSize], b.c.Stats())
	}
	b.write(fill(PageSize, 2), PageSize)
	b.sync()
	if err := tab.store([]byte{3}, PageSize); err != nil {
		t.Error(err)
	}
	b.sync()
	if got := b.stored(PageSize, 2); got[0] != 3 || got[1] != 2 {
		t.Errorf("the page holds %v", got)
	}
}

// What those who have the memory do behind the cache's back is theirs, and no
// damage: a guard from before they came is not relied on.
func TestNoGuardWhereMemoryIsShared(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	b.write(fill(2*PageSize, 1), 0)
	tab := b.attach()
	if err := tab.store([]byte{7}, PageSize); err != nil {
		t.Fatal(err)
	}
	if pg := b.m.page(1); pg.load().has(guarded) {
		t.Error("a page that is mapped writable has a guard")
	}
	b.m.arena.mem[0] = 8
	b.sync()
	if got := b.stored(0, PageSize); got[0] != 8 || b.c.Stats().Damaged != 0 {
		t.Errorf("the first byte is %d, %+v", got[0], b.c.Stats())
	}
	b.write(fill(PageSize, 1), 0)
	b.m.arena.mem[0] = 9
	b.write(fill(10, 1), 100)
	b.sync()
	if got := b.stored(0, PageSize); got[0] != 9 || b.c.Stats().Damaged != 0 {
		t.Errorf("the first byte is %d, %+v", got[0], b.c.Stats())
	}
}
