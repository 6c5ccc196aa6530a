package mirror

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/devicetest"
	"holdfast.dev/holdfast/device/faultdev"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/internal/rangelock"
	"holdfast.dev/holdfast/journal"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// readers is a device that notes the lengths of what is read of an area.
type readers struct {
	device.Device
	area    ondisk.Area
	reads   []int
	crooked int // are not whole blocks of the leg
}

func (r *readers) ReadAt(p []byte, off int64) (int, error) {
	if off >= r.area.Off && off < r.area.End() {
		r.reads = append(r.reads, len(p))
		if off%BlockSize != 0 || len(p)%BlockSize != 0 {
			r.crooked++
		}
	}
	return r.Device.ReadAt(p, off)
}

// haulPool is one whose ring holds more than is read at once.
func haulPool(t *testing.T, kind guard.Kind) (*Mirror, []Leg, []*readers) {
	t.Helper()
	const size = 2 * guardSpan
	legs := memLegs(2, LegSize(size))
	must(t, Format(legs, FormatOptions{Size: size, RegionSize: testRegion, Guards: kind, Journal: 400 * BlockSize}))
	front := slices.Clone(legs)
	var seen []*readers
	for i := range front {
		seen = append(seen, &readers{Device: front[i].Dev})
		front[i].Dev = seen[i]
	}
	m := open(t, front, Options{Manual: true})
	for _, s := range seen {
		s.area = m.geo.Areas[ondisk.AreaJournal]
	}
	return m, legs, seen
}

// every is count blocks from first on, every step-th.
func every(first, count, step int64, fill byte) (parts []device.Part) {
	for i := range count {
		parts = append(parts, block(first+i*step, fill))
	}
	return parts
}

// A checkpoint reads what lies near each other in the ring together, on one leg;
// what is not needed of it only where it is little.
func TestCheckpointReadsRuns(t *testing.T) {
	const gap = haulGap / BlockSize
	for _, c := range []struct {
		what    string
		batches [][]device.Part
		reads   int
		homes   uint64
	}{
		{"one block", [][]device.Part{every(3, 1, 1, 1)}, 1, 1},
		{"scattered", [][]device.Part{every(0, 60, 9, 1), every(7, 60, 9, 2)}, 1, 120},
		{"written again", [][]device.Part{every(900, 1, 1, 1), every(0, gap-2, 3, 2), every(0, gap-2, 3, 3)}, 1, 1 + gap - 2},
		{"written again, more", [][]device.Part{every(900, 1, 1, 1), every(0, gap+2, 3, 2), every(0, gap+2, 3, 3)}, 2, 1 + gap + 2},
		{"more than at once", [][]device.Part{every(0, 100, 3, 1), every(300, 100, 3, 2), every(600, 100, 3, 3)}, 3, 300},
	} {
		m, _, seen := haulPool(t, guard.CRC32C)
		for _, parts := range c.batches {
			batch(t, m, parts...)
		}
		must(t, m.Checkpoint())
		reads := append(seen[0].reads, seen[1].reads...)
		if len(reads) != c.reads || seen[0].crooked+seen[1].crooked != 0 || slices.Max(reads) > haulMost || m.Status().Journal.Homes != c.homes {
			t.Errorf("%s: reads of %d, %+v", c.what, reads, m.Status().Journal)
		}
		for _, p := range c.batches[len(c.batches)-1] {
			if got := get(t, m, p.Off, 1)[0]; got != p.P[0] {
				t.Errorf("%s: the block at %d reads as %d", c.what, p.Off, got)
			}
		}
	}
}

// Whatever lies in the ring, and wherever, is at home afterwards, with its guard.
func TestCheckpointTakesAllHome(t *testing.T) {
	r := devicetest.Rand(devicetest.Seed(t), 0)
	split := 0 // by the ring's end
	for _, kind := range []guard.Kind{guard.None, guard.CRC32C, guard.T10DIF} {
		m, legs, _ := haulPool(t, kind)
		want := make([]byte, m.Size())
		blocks := m.Size() / BlockSize
		for range 100 {
			at := r.Int64N(blocks)
			near := r.Int64N(blocks-at) + 1
			for range r.IntN(4) {
				var parts []device.Part
				taken := make(map[int64]bool)
				for range 1 + r.IntN(60) {
					n := at + r.Int64N(near)
					if !taken[n] {
						taken[n] = true
						parts = append(parts, block(n, byte(1+r.IntN(255))))
						copy(want[n*BlockSize:], parts[len(parts)-1].P)
					}
				}
				done, err := m.WriteBatch(parts)
				must(t, err)
				for _, p := range parts[done:] { // it was full
					must(t, m.WriteGuarded(p.P, p.Off, p.Sums))
				}
			}
			if n := min(near, 1+r.Int64N(5)); r.IntN(2) == 0 { // zeros, where it holds something
				must(t, m.Discard(at*BlockSize, n*BlockSize))
				clear(want[at*BlockSize:][:n*BlockSize])
			}
			if r.IntN(3) == 0 {
				for _, x := range m.lying(m.ring.held(0, m.Size(), nil)) {
					if x.off >= 0 || x.v.Zeros != 0 {
						continue
					}
					split++
					if n, err := m.takeRuns([]homing{x}, false); n != 0 || err != nil {
						t.Errorf("what is in two pieces is written with others: %d, %v", n, err)
					}
				}
				must(t, m.Checkpoint())
				if s := m.Status().Journal; s.Blocks != 0 {
					t.Fatalf("%+v", s)
				}
			}
			if !bytes.Equal(get(t, m, 0, m.Size()), want) {
				t.Fatal("it reads as something that was not written")
			}
		}
		must(t, m.Scrub(ScrubOptions{}))
		if s := m.Status(); s.Scrub.Bad+s.Scrub.Lost != 0 || s.Journal.Lost != 0 {
			t.Errorf("%v: %+v", kind, s)
		}
		must(t, m.Close())
		wantSound(t, legs)
		for _, l := range legs {
			if !bytes.Equal(dataOf(t, l), want) {
				t.Errorf("%v: leg %s is not what was written", kind, l.Name)
			}
		}
	}
	if split == 0 {
		t.Error("no block lay on both sides of the ring's end")
	}
}

// What goes home in one write is side by side there and in the ring, or zeros.
func TestAlike(t *testing.T) {
	const k = homeBlocks
	data, zeros := journal.Version{}, journal.Version{Zeros: journal.AllSectors}
	at := func(v journal.Version, block uint64, off int64) homing {
		v.Block = block
		return homing{v: &v, off: off}
	}
	var many []homing
	for i := range 2 * k {
		many = append(many, at(data, uint64(i), 512+int64(i)*BlockSize))
	}
	for _, c := range []struct {
		what string
		hs   []homing
		want int
	}{
		{"one", many[:1], 1},
		{"two", many[:2], 2},
		{"too many", many, k},
		{"neighbours at home", []homing{at(data, 5, 512), at(data, 6, 512+2*BlockSize)}, 1},
		{"neighbours in the ring", []homing{at(data, 5, 512), at(data, 7, 512+BlockSize)}, 1},
		{"zeros", []homing{at(zeros, 5, -1), at(zeros, 6, -1), at(zeros, 8, -1)}, 2},
		{"zeros, and what is in two pieces", []homing{at(zeros, 5, -1), at(data, 6, -1)}, 1},
		{"what is in two pieces", []homing{at(data, 5, -1), at(data, 6, -1)}, 1},
	} {
		if n := alike(c.hs); n != c.want {
			t.Errorf("%s: %d", c.what, n)
		}
	}
}

// A block that no leg has as it was written is left at home as it is, and those
// beside it are taken there.
func TestCheckpointLeavesLost(t *testing.T) {
	legs := ringed(t, 2, guard.None)
	m := open(t, legs, Options{Manual: true})
	put(t, m, 5*BlockSize, []byte("old"))
	batch(t, m, block(4, 4), block(5, 5), block(6, 6))
	v := m.ring.held(5*BlockSize, 1, nil)
	for _, l := range legs {
		put(t, l.Dev, m.ring.j.Pieces(&v[0], nil)[0].Off, []byte{1})
	}
	must(t, m.Checkpoint())
	if got := get(t, m, 5*BlockSize, 3); string(got) != "old" {
		t.Errorf("the lost block reads as %q", got)
	}
	for _, n := range []int64{4, 6} {
		if got := get(t, m, n*BlockSize, 1)[0]; got != byte(n) {
			t.Errorf("block %d reads as %d", n, got)
		}
	}
}

// What a checkpoint reads of a leg that is not what was written there is taken of
// another, and charged, whichever leg others would read it of at that moment.
func TestCheckpointFindsRot(t *testing.T) {
	m, h := hookedPool(t)
	batch(t, m, block(4, 4), block(9, 9), block(20, 20))
	must(t, m.Flush())
	v := m.ring.held(9*BlockSize, 1, nil)
	at := m.ring.j.Pieces(&v[0], nil)[0].Off
	put(t, h.Device, at+17, []byte{1})
	m.leg(1).reading.Add(1)
	h.onRead = func(int64) {
		h.onRead = nil
		m.leg(1).reading.Add(-2)
	}
	must(t, m.Checkpoint())
	m.leg(1).reading.Add(1)
	for _, n := range []int64{4, 9, 20} {
		if got := get(t, m, n*BlockSize, BlockSize); !bytes.Equal(got, block(n, byte(n)).P) {
			t.Errorf("block %d reads as %d", n, got[:32])
		}
	}
	if s := m.Status(); s.Legs[0].ChecksumErrors != 1 || s.Legs[1].ChecksumErrors != 0 || s.Journal.Lost != 0 {
		t.Errorf("%+v", s)
	}
}

// Where a leg cannot be read the others are, block by block.
func TestCheckpointReadsAround(t *testing.T) {
	for _, bad := range []int{1, 2} {
		legs := ringed(t, 2, guard.CRC32C)
		front, faults := faulty(legs)
		m := open(t, front, Options{Manual: true})
		batch(t, m, block(4, 4), block(9, 9))
		batch(t, m, block(20, 20))
		must(t, m.Flush())
		for i, n := range []int64{4, 20}[:bad] { // of each leg another block
			v := m.ring.held(n*BlockSize, 1, nil)
			faults[i].Add(faultdev.Rule{On: faultdev.Read, Off: m.ring.j.Pieces(&v[0], nil)[0].Off, Len: 1, Err: device.ErrIO, Forever: true})
		}
		must(t, m.Checkpoint())
		if bad == len(legs) && m.ring.haul.good {
			t.Error("what could not be read is taken for read")
		}
		for _, n := range []int64{4, 9, 20} {
			if got := get(t, m, n*BlockSize, 1)[0]; got != byte(n) {
				t.Errorf("block %d reads as %d", n, got)
			}
		}
		if s := m.Status(); s.Journal.Lost != 0 || s.Journal.Blocks != 0 || s.Degraded {
			t.Errorf("%+v", s)
		}
		must(t, m.Close())
		wantSound(t, legs)
	}
}

// Where a block can be read from no leg a checkpoint fails; what it has taken home by
// then has its guards.
func TestCheckpointFailsHalfway(t *testing.T) {
	legs := ringed(t, 2, guard.CRC32C)
	front, faults := faulty(legs)
	m := open(t, front, Options{Manual: true})
	batch(t, m, block(4, 4), block(9, 9), block(20, 20), block(30, 30))
	must(t, m.Flush())
	v := m.ring.held(20*BlockSize, 1, nil)
	for _, f := range faults {
		f.Add(faultdev.Rule{On: faultdev.Read, Off: m.ring.j.Pieces(&v[0], nil)[0].Off, Len: BlockSize, Err: device.ErrIO, Forever: true})
	}
	if err := m.Checkpoint(); !errors.Is(err, device.ErrIO) {
		t.Fatal(err)
	}
	for _, n := range []int64{4, 9, 20, 30} {
		known, err := m.guards.knows(n*BlockSize, BlockSize)
		if want := n < 20; known != want || err != nil {
			t.Errorf("block %d: %v, %v", n, known, err)
		}
	}
	for _, f := range faults {
		f.Heal()
	}
	must(t, m.Checkpoint())
	for _, n := range []int64{4, 9, 20, 30} {
		if got := get(t, m, n*BlockSize, 1)[0]; got != byte(n) {
			t.Errorf("block %d reads as %d", n, got)
		}
	}
	must(t, m.Close())
	wantSound(t, legs)
}

// What is taken home changes no guard before all of it is there: so a flush that
// comes meanwhile writes none, and that of the checkpoint each block once, before
// the header.
func TestCheckpointWritesGuardsOnce(t *testing.T) {
	m, h := hookedPool(t)
	get(t, m, 0, testData)
	batch(t, m, every(0, 30, 2, 7)...)
	must(t, m.Flush())
	homes, guards, flushes := 0, 0, 0
	in := func(k ondisk.AreaKind, off int64) bool {
		return off >= m.geo.Areas[k].Off && off < m.geo.Areas[k].End()
	}
	h.onWrite = func(off int64) {
		switch {
		case in(ondisk.AreaGuards, off):
			guards++
		case in(ondisk.AreaJournal, off) && guards != 1:
			t.Errorf("the header is written after %d writes of guards", guards)
		case off >= m.geo.DataOff() && off < m.geo.DataOff()+testData:
			if homes++; homes%10 == 0 {
				flushes++
				must(t, m.Flush())
			}
		}
	}
	must(t, m.Checkpoint())
	h.onWrite = nil
	if homes != 30 || guards != 1 || flushes != 3 {
		t.Errorf("%d blocks were taken home, with %d writes of guards and %d flushes meanwhile", homes, guards, flushes)
	}
	if got := get(t, m, 58*BlockSize, 1)[0]; got != 7 {
		t.Errorf("it reads as %d", got)
	}
}

// A checkpoint waits for who has a block before it gives it its guard, and gives none
// in a pool that is about to be closed.
func TestCheckpointGuardsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := hookedPool(t)
		batch(t, m, block(1, 1), block(2, 2))
		must(t, m.Flush())
		hs := m.lying(m.ring.held(0, testData, nil))
		m.stopping.Store(true)
		if err := m.giveTuples(hs, false); !errors.Is(err, device.ErrClosed) {
			t.Errorf("as it stops: %v", err)
		}
		m.stopping.Store(false)
		h := m.ranges.Acquire(2*BlockSize, BlockSize, rangelock.Shared)
		given := false
		go func() {
			if err := m.giveTuples(hs, false); err != nil {
				t.Error(err)
			}
			given = true
		}()
		synctest.Wait()
		if given {
			t.Error("a block that is read has got another guard")
		}
		m.ranges.Release(h)
		synctest.Wait()
		if known, err := m.guards.knows(BlockSize, 2*BlockSize); !given || !known || err != nil {
			t.Errorf("given %v, known %v, %v", given, known, err)
		}
	})
}
