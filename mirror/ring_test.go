package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// counting is a device that notes what is done to it.
type counting struct {
	device.Device
	mu      sync.Mutex
	writes  []int64 // where
	flushes int
}

func (w *counting) WriteAt(p []byte, off int64) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes = append(w.writes, off)
	return w.Device.WriteAt(p, off)
}

func (w *counting) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushes++
	return w.Device.Flush()
}

// ringed returns n legs in memory that are a closed pool with a small journal.
func ringed(t testing.TB, n int, kind guard.Kind) []Leg {
	t.Helper()
	legs := memLegs(n, LegSize(testData))
	must(t, Format(legs, FormatOptions{Size: testData, RegionSize: testRegion, Guards: kind, Journal: 50 * BlockSize}))
	return legs
}

// block is a part of one block, filled with a byte.
func block(number int64, fill byte) device.Part {
	p := bytes.Repeat([]byte{fill}, BlockSize)
	return device.Part{P: p, Off: number * BlockSize, Sums: sumsOf(p)}
}

// batch writes blocks to the ring and nowhere else.
func batch(t testing.TB, m *Mirror, parts ...device.Part) {
	t.Helper()
	if n, err := m.WriteBatch(parts); err != nil || n != len(parts) {
		t.Fatalf("%d of %d parts were written: %v", n, len(parts), err)
	}
}

// What is scattered and small takes one write of each leg, in the ring, and one
// flush.
func TestBatchIsOneWrite(t *testing.T) {
	for kind := guard.None; kind <= guard.T10DIF; kind++ {
		legs := memLegs(3, LegSize(testData))
		must(t, Format(legs, FormatOptions{Size: testData, RegionSize: testRegion, Guards: kind}))
		var seen []*counting
		for i := range legs {
			seen = append(seen, &counting{Device: legs[i].Dev})
			legs[i].Dev = seen[i]
		}
		m := open(t, legs, Options{Manual: true})
		for _, w := range seen {
			w.writes, w.flushes = nil, 0
		}
		var parts []device.Part
		for i := range int64(32) {
			parts = append(parts, block(2*i, byte(i)))
		}
		batch(t, m, parts...)
		must(t, m.Flush())
		a := m.geo.Areas[ondisk.AreaJournal]
		for _, w := range seen {
			if len(w.writes) != 1 || w.writes[0] < a.Off || w.writes[0] >= a.End() || w.flushes != 1 {
				t.Errorf("%v: writes at %v, %d flushes; the ring is at %d", kind, w.writes, w.flushes, a.Off)
			}
		}
		for _, p := range parts {
			if got := get(t, m, p.Off, BlockSize); !bytes.Equal(got, p.P) {
				t.Errorf("%v: the block at %d reads otherwise", kind, p.Off)
			}
		}
	}
}

// Large parts, all in a pool without a journal, and all if it is not to be used,
// are left to the caller.
func TestBatchLeaves(t *testing.T) {
	large := device.Part{P: make([]byte, smallWrite+BlockSize)}
	for _, c := range []struct {
		what    string
		journal int64
		mode    JournalMode
		parts   []device.Part
		want    int
	}{
		{"small ones", 0, JournalAuto, []device.Part{block(9, 1), block(12, 1)}, 2},
		{"what follows a large one", 0, JournalAuto, []device.Part{block(9, 1), large, block(12, 1)}, 1},
		{"nothing, forced", 0, JournalAlways, []device.Part{large, block(12, 1)}, 2},
		{"all, forced", 0, JournalNever, []device.Part{block(9, 1)}, 0},
		{"all, without a journal", NoJournal, JournalAlways, []device.Part{block(9, 1)}, 0},
		{"a part of a block, without guards", 0, JournalAuto, []device.Part{{P: make([]byte, 512)}}, 0},
	} {
		legs := memLegs(1, LegSize(testData))
		must(t, Format(legs, FormatOptions{Size: testData, RegionSize: testRegion, Journal: c.journal}))
		m := open(t, legs, Options{Manual: true, Journal: c.mode})
		if n, err := m.WriteBatch(c.parts); err != nil || n != c.want {
			t.Errorf("%s: %d were written, %v", c.what, n, err)
		}
	}
	m := open(t, ringed(t, 1, guard.CRC32C), Options{Manual: true})
	wrong := block(3, 1)
	wrong.Sums = []uint32{1}
	if n, err := m.WriteBatch([]device.Part{block(1, 1), wrong}); n != 0 || !errors.Is(err, device.ErrGuard) {
		t.Errorf("with a wrong sum: %d, %v", n, err)
	}
	if n, err := m.WriteBatch([]device.Part{block(testData/BlockSize, 1)}); n != 0 || !errors.Is(err, device.ErrOutOfRange) {
		t.Errorf("beyond the end: %d, %v", n, err)
	}
}

// A ring that is full takes no more, and its task makes room.
func TestRingIsEmptiedInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := open(t, ringed(t, 2, guard.CRC32C), Options{})
		n := int64(0)
		for ; ; n++ {
			if done, err := m.WriteBatch([]device.Part{block(n%60, byte(n))}); err != nil {
				t.Fatal(err)
			} else if done == 0 {
				break
			}
		}
		if n != 24 {
			t.Errorf("it took %d blocks", n)
		}
		m.Start()
		synctest.Wait()
		s := m.Status().Journal
		if s.Used > s.Size/lowWater || s.Checkpoints == 0 || s.Homes == 0 || int64(s.Blocks)+int64(s.Homes) != n {
			t.Errorf("%+v", s)
		}
		batch(t, m, block(1, 99))
		for i := range n {
			want := byte(i)
			if i == 1 {
				want = 99
			}
			if got := get(t, m, i*BlockSize, BlockSize); got[0] != want {
				t.Errorf("block %d reads as %d", i, got[0])
			}
		}
		must(t, m.Close())
	})
}

// What the ring holds is data, also where there is a hole at home.
func TestExtentsOfTheRing(t *testing.T) {
	m := open(t, ringed(t, 2, guard.CRC32C), Options{Manual: true})
	batch(t, m, block(3, 1), block(4, 1), block(9, 1))
	var data []int64
	must(t, m.Extents(BlockSize+512, testData-BlockSize-512, func(e device.Extent) bool {
		for at := e.Off; at < e.Off+e.Len && !e.Hole; at += BlockSize {
			data = append(data, at/BlockSize)
		}
		return true
	}))
	if fmt.Sprint(data) != "[3 4 9]" {
		t.Errorf("data at blocks %v", data)
	}
}

// Each version of a block has a newer tuple than the one before, in the ring and at
// home: so one that a leg has lost is told from it.
func TestTuplesRiseThroughTheRing(t *testing.T) {
	for _, kind := range []guard.Kind{guard.CRC32C, guard.T10DIF} {
		m := open(t, ringed(t, 1, kind), Options{Manual: true})
		before, err := m.newestTuple(3 * BlockSize)
		must(t, err)
		for i, step := range []func(){
			func() { put(t, m, 3*BlockSize, []byte("home")) },
			func() { batch(t, m, block(3, 1)) },
			func() { batch(t, m, block(3, 1)) },
			func() { put(t, m, 3*BlockSize, []byte("ring")) },
			func() { must(t, m.Checkpoint()); put(t, m, 3*BlockSize, []byte("home")) },
			func() { batch(t, m, block(3, 1)) },
		} {
			step()
			now, err := m.newestTuple(3 * BlockSize)
			must(t, err)
			if !kind.Newer(now, before) {
				t.Errorf("%v: after step %d the tuple is %x, before it %x", kind, i, now, before)
			}
			before = now
		}
	}
}
