package mirror

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/faultdev"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/internal/rangelock"
)

// wants makes parts of offsets and lengths.
func wants(ranges ...[2]int64) (parts []device.Part) {
	for _, r := range ranges {
		parts = append(parts, device.Part{P: bytes.Repeat([]byte{0xee}, int(r[1])), Off: r[0]})
	}
	return parts
}

// blocksAt makes parts of one block each.
func blocksAt(numbers ...int64) (parts []device.Part) {
	for _, n := range numbers {
		parts = append(parts, wants([2]int64{n * BlockSize, BlockSize})...)
	}
	return parts
}

// wantNumbered fails unless parts have what numbered has written.
func wantNumbered(t *testing.T, what string, parts []device.Part) {
	t.Helper()
	for _, p := range parts {
		for i, b := range p.P {
			if want := byte((p.Off+int64(i))/BlockSize + 1); b != want {
				t.Errorf("%s: the byte at %d reads as %d, want %d", what, p.Off+int64(i), b, want)
				break
			}
		}
	}
}

// numbered gives each block of a pool a byte of its own.
func numbered(t testing.TB, m *Mirror) {
	t.Helper()
	for n := range m.Size() / BlockSize {
		if _, err := m.WriteAt(bytes.Repeat([]byte{byte(n + 1)}, BlockSize), n*BlockSize); err != nil {
			t.Fatal(err)
		}
	}
	must(t, m.Flush())
}

// Whole blocks are read with one call of one leg. What cannot be read so is read by
// itself.
func TestReadScattered(t *testing.T) {
	odd := []device.Part{}
	odd = append(odd, blocksAt(1, 5)...)
	odd = append(odd, wants([2]int64{8*BlockSize + 5, 512})...)
	odd = append(odd, blocksAt(10, 12)...)
	for _, c := range []struct {
		what     string
		kind     guard.Kind
		parts    []device.Part
		together []int
		alone    int
	}{
		{"blocks", guard.CRC32C, blocksAt(9, 3, 30, 12), []int{4}, 0},
		{"blocks, t10-dif", guard.T10DIF, blocksAt(9, 3, 30, 12), []int{4}, 0},
		{"blocks, without guards", guard.None, blocksAt(9, 3, 30, 12), []int{4}, 0},
		{"one block", guard.CRC32C, blocksAt(9), nil, 1},
		{"several blocks each", guard.CRC32C, wants([2]int64{0, 2 * BlockSize}, [2]int64{9 * BlockSize, 3 * BlockSize}), []int{2}, 0},
		{"a part of a block", guard.CRC32C, odd, []int{2, 2}, 1},
		{"a part of a block, without guards", guard.None, odd, []int{5}, 0},
		{"nothing", guard.CRC32C, append(wants([2]int64{testData, 0}), blocksAt(1, 2)...), []int{2}, 0},
	} {
		m, seen := spreading(t, c.kind, Options{})
		numbered(t, m)
		get(t, m, 0, testData)
		for _, s := range seen {
			s.readTogether, s.readAlone = nil, 0
		}
		must(t, m.ReadScattered(c.parts))
		wantNumbered(t, c.what, c.parts)
		together := append(slices.Clone(seen[0].readTogether), seen[1].readTogether...)
		if alone := seen[0].readAlone + seen[1].readAlone; !slices.Equal(together, c.together) || alone != c.alone {
			t.Errorf("%s: %v together, %d alone", c.what, together, alone)
		}
	}
}

// A turn takes no more than it should. What somebody writes to is read by itself when
// he is done, and what the ring holds from there.
func TestReadScatteredTurns(t *testing.T) {
	m, _ := spreading(t, guard.CRC32C, Options{})
	numbered(t, m)
	var numbers []int64
	for n := range int64(testData / BlockSize) {
		numbers = append(numbers, n)
	}
	parts := blocksAt(numbers...)
	if n, err := m.spread(&reading, parts); n != spreadMost || err != nil || len(parts) <= spreadMost {
		t.Errorf("of %d parts: %d, %v", len(parts), n, err)
	}
	h := m.ranges.Acquire(4*BlockSize, BlockSize, rangelock.Exclusive)
	if n, err := m.spread(&reading, parts[1:8]); n != 3 || err != nil {
		t.Errorf("beside one that is written: %d, %v", n, err)
	}
	m.ranges.Release(h)
	h = m.ranges.Acquire(4*BlockSize, BlockSize, rangelock.Shared)
	if n, err := m.spread(&reading, parts[1:8]); n != 7 || err != nil {
		t.Errorf("beside one that is read: %d, %v", n, err)
	}
	m.ranges.Release(h)
	batch(t, m, block(5, 77))
	if n, err := m.spread(&reading, parts[1:8]); n != 4 || err != nil {
		t.Errorf("beside one in the ring: %d, %v", n, err)
	}
	must(t, m.ReadScattered(parts[1:8]))
	if got := parts[5].P[0]; got != 77 {
		t.Errorf("what the ring holds reads as %d", got)
	}
	if err := m.ReadScattered(blocksAt(1, testData/BlockSize)); !errors.Is(err, device.ErrOutOfRange) {
		t.Errorf("beyond the end: %v", err)
	}
	must(t, m.Close())
	if err := m.ReadScattered(parts); !errors.Is(err, device.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// A block that a leg has lost, or cannot read, is found among others. Read by itself it
// is read from another leg and healed, and the leg is charged, once for the block.
func TestReadScatteredFindsWhatToHeal(t *testing.T) {
	for _, unreadable := range []bool{false, true} {
		legs := ringed(t, 2, guard.CRC32C)
		front, faults := faulty(legs)
		m := open(t, front, Options{Manual: true})
		numbered(t, m)
		get(t, m, 0, testData)
		for i := range faults {
			at, want := m.geo.DataOff()+9*BlockSize, device.ErrGuard
			if unreadable {
				want = device.ErrIO
				faults[i].Add(faultdev.Rule{On: faultdev.Read, Off: at, Len: BlockSize, Err: device.ErrIO, Forever: true})
			} else if _, err := legs[i].Dev.WriteAt([]byte("rotten"), at); err != nil {
				t.Fatal(err)
			}
			parts := blocksAt(3, 9, 30, 12)
			// The leg that is rotten is the one that is read from.
			m.leg(1 - i).reading.Add(100)
			if err := m.ReadScattered(parts); !errors.Is(err, want) {
				t.Errorf("unreadable %v: leg %d: %v", unreadable, i, err)
			}
			for k := range parts {
				must(t, device.ReadPart(m, &parts[k]))
			}
			m.leg(1 - i).reading.Add(-100)
			wantNumbered(t, "each by itself", parts)
			s := m.Status().Legs[i]
			if !unreadable && s.ChecksumErrors != 1 || unreadable && s.ReadErrors == 0 || s.State != InSync {
				t.Errorf("unreadable %v: leg %d: %+v", unreadable, i, s)
			}
			faults[i].Heal()
			must(t, m.ReadScattered(parts))
			wantNumbered(t, "when it is healed", parts)
		}
		must(t, m.Close())
		wantSound(t, legs)
	}
}

// Of blocks that no leg has as they were written the error is told; the others can be
// read.
func TestReadScatteredLost(t *testing.T) {
	legs := ringed(t, 2, guard.CRC32C)
	m := open(t, legs, Options{Manual: true})
	numbered(t, m)
	for i := range legs {
		if _, err := legs[i].Dev.WriteAt([]byte("rotten"), m.geo.DataOff()+9*BlockSize); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.ReadScattered(blocksAt(3, 9, 30)); !errors.Is(err, device.ErrGuard) {
		t.Errorf("with one that is lost: %v", err)
	}
	if s := m.Status().Legs; s[0].ChecksumErrors+s[1].ChecksumErrors != 0 {
		t.Errorf("it was charged before it was looked at by itself: %+v", s)
	}
	parts := blocksAt(3, 30)
	must(t, m.ReadScattered(parts))
	wantNumbered(t, "the others", parts)
	must(t, m.Close())
}

// Blocks of guards that are not in memory are read together, from each leg; of those
// that a leg cannot read it is given another's.
func TestGuardsAreReadTogether(t *testing.T) {
	const spans = 6
	size := int64(spans * guardSpan)
	legs := memLegs(2, LegSize(size))
	must(t, Format(legs, FormatOptions{Size: size, RegionSize: guardSpan, Guards: guard.CRC32C}))
	m := open(t, legs, Options{Manual: true})
	var parts []device.Part
	for n := range int64(spans) {
		p := block(n*guardSpan/BlockSize+5, byte(n+1))
		must(t, m.WriteGuarded(p.P, p.Off, p.Sums))
		parts = append(parts, device.Part{P: make([]byte, BlockSize), Off: p.Off})
	}
	must(t, m.Close())
	for _, c := range []struct {
		what     string
		bad      []int64 // which blocks of guards cannot be read, of leg 0
		all      bool    // nor of leg 1
		warm     int64   // how many are in memory already
		together [2][]int
		lost     bool
	}{
		{"all can be read", nil, false, 0, [2][]int{{6, 6}, {6}}, false},
		{"some are there", nil, false, 4, [2][]int{{2, 6}, {2}}, false},
		{"one cannot", []int64{3}, false, 0, [2][]int{{6, 6}, {6}}, false},
		{"none can, of one leg", []int64{0, 1, 2, 3, 4, 5}, false, 0, [2][]int{{6, 6}, {6}}, false},
		{"one cannot, of any leg", []int64{3}, true, 0, [2][]int{{6}, {6}}, true},
	} {
		front, faults := faulty(legs)
		var seen []*spreads
		for i := range front {
			seen = append(seen, &spreads{Device: front[i].Dev})
			front[i].Dev = seen[i]
		}
		m := open(t, front, Options{Manual: true})
		for n := range c.warm {
			get(t, m, n*guardSpan, BlockSize)
		}
		for i, f := range faults {
			seen[i].readTogether = nil
			for _, n := range c.bad {
				if i == 0 || c.all {
					f.Add(faultdev.Rule{On: faultdev.Read, Off: m.guards.place(n), Len: BlockSize, Err: device.ErrIO, Forever: true})
				}
			}
		}
		if err := m.ReadScattered(parts); c.lost != errors.Is(err, device.ErrIO) {
			t.Errorf("%s: %v", c.what, err)
		}
		for i, s := range seen {
			if !slices.Equal(s.readTogether, c.together[i]) {
				t.Errorf("%s: leg %d: %v together", c.what, i, s.readTogether)
			}
		}
		for n, p := range parts {
			if !c.lost && p.P[0] != byte(n+1) {
				t.Errorf("%s: the block at %d reads as %d", c.what, p.Off, p.P[0])
			}
		}
		m.guards.mu.Lock()
		for _, b := range m.guards.clock {
			if b.users != 0 || b.loading || b.dirty != (slices.Contains(c.bad, b.index) && !c.all) {
				t.Errorf("%s: block %d has %d users, loading %v, dirty %v", c.what, b.index, b.users, b.loading, b.dirty)
			}
		}
		m.guards.mu.Unlock()
		for _, f := range faults {
			f.Heal()
		}
		must(t, m.Close())
	}
}
