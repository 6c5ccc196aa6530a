package ondisk

import (
	"errors"
	"fmt"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/powercut"
)

// place writes a superblock, as of a generation, to one of the places of a leg.
func place(t *testing.T, d device.Device, sb Superblock, generation uint64, off int64) {
	t.Helper()
	sb.Generation = generation
	b := make([]byte, BlockSize)
	sb.encode(b, off)
	if _, err := d.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
}

// Whatever a leg's two copies are, and in whichever operation of writing them
// the power goes, each state that this may leave has a good one, no older than
// the better was. And once they are written both are the new one.
func TestTornWriteLeavesACopy(t *testing.T) {
	sb := smallPool(2)[0]
	for _, head := range []uint64{0, 1, 2} {
		for _, tail := range []uint64{0, 1, 2} { // generations; 0 is no superblock
			if head+tail == 0 {
				continue
			}
			for n := 1; ; n++ {
				name := fmt.Sprintf("generations %d and %d, cut in operation %d", head, tail, n)
				on := new(powercut.Supply)
				d := on.NewDisk("leg", sb.LegSize)
				if head > 0 {
					place(t, d, sb, head, HeadOffset)
				}
				if tail > 0 {
					place(t, d, sb, tail, TailOffset(sb.LegSize))
				}
				before := ReadCopies(d)
				worse, next := before.Worse(), sb
				next.Generation, next.Used = 3, 3
				on.CutAfter(n)
				err := WriteCopies(d, d.Flush, &next, &worse, device.Aligned(BlockSize))
				states := 0
				counted := on.Enumerate(1<<10, func(disks []*powercut.Disk) bool {
					states++
					after := ReadCopies(disks[0])
					if best := after.Best(); best == nil || best.Generation < max(head, tail) {
						t.Errorf("%s: state %d: the newest superblock is gone: %v", name, states, after.Err())
					} else if err == nil && (best.Generation != 3 || !after.Settled()) {
						t.Errorf("%s: state %d: both were written, and tell of %d", name, states, best.Generation)
					}
					return !t.Failed()
				})
				if !counted {
					t.Fatalf("%s: too many states", name)
				}
				if err == nil {
					break
				}
			}
		}
	}
}

// Of two superblocks that tell of different legs the older does not count,
// wherever it lies.
func TestRemnantDoesNotCount(t *testing.T) {
	pool := smallPool(2)
	for _, headNewer := range []bool{false, true} {
		d := device.NewMem(pool[0].LegSize)
		head, tail, newer := uint64(1), uint64(2), &pool[1]
		if headNewer {
			head, tail, newer = 2, 1, &pool[0]
		}
		place(t, d, pool[0], head, HeadOffset)
		place(t, d, pool[1], tail, TailOffset(d.Size()))
		c := ReadCopies(d)
		if best := c.Best(); best == nil || best.Leg != newer.Leg {
			t.Errorf("head newer %v: took %v", headNewer, best)
		}
		if b := c.Broken(); b == nil || !errors.Is(b.Err, ErrCorrupt) || c.Settled() {
			t.Errorf("head newer %v: the remnant counts: %v", headNewer, b)
		}
	}
}

// What was erased is found neither at the end of the device nor where the leg
// that was there before had its end.
func TestErasedIsNotFound(t *testing.T) {
	sb := smallPool(1)[0]
	for _, size := range []int64{sb.LegSize, sb.LegSize + 7*BlockSize} {
		d := device.NewMem(size)
		for _, off := range []int64{HeadOffset, TailOffset(sb.LegSize)} {
			place(t, d, sb, 1, off)
		}
		c := ReadCopies(d)
		if !c.Settled() {
			t.Fatalf("on %d bytes: %v", size, c.Err())
		}
		if err := c.Erase(d); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, BlockSize)
		for _, off := range []int64{HeadOffset, TailOffset(sb.LegSize)} {
			if left := readCopy(d, off, buf); left.sb != nil {
				t.Errorf("on %d bytes: a superblock at %d was left", size, off)
			}
		}
	}
}
