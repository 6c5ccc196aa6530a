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

// spreads is a device that notes what it is handed together, and what by itself.
type spreads struct {
	device.Device
	together []int // how many
	alone    int
	flushes  int
	// readTogether and readAlone are the same for reads.
	readTogether []int
	readAlone    int
}

func (s *spreads) ReadScattered(parts []device.Part) error {
	s.readTogether = append(s.readTogether, len(parts))
	return device.ReadScattered(s.Device, parts)
}

func (s *spreads) WriteScattered(parts []device.Part) error {
	s.together = append(s.together, len(parts))
	for i := range parts {
		if err := device.WritePart(s.Device, &parts[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *spreads) ReadAt(p []byte, off int64) (int, error) {
	s.readAlone++
	return s.Device.ReadAt(p, off)
}

func (s *spreads) WriteAt(p []byte, off int64) (int, error) {
	s.alone++
	return s.Device.WriteAt(p, off)
}

func (s *spreads) Flush() error {
	s.flushes++
	return s.Device.Flush()
}

// spreading returns an open pool whose legs note what they are handed, from here
// on: with nothing in the log, and the guards of all in memory.
func spreading(t testing.TB, kind guard.Kind, o Options) (*Mirror, []*spreads) {
	t.Helper()
	legs := ringed(t, 2, kind)
	var seen []*spreads
	for i := range legs {
		seen = append(seen, &spreads{Device: legs[i].Dev})
		legs[i].Dev = seen[i]
	}
	o.Manual = true
	m := open(t, legs, o)
	get(t, m, 0, testData)
	for _, s := range seen {
		s.together, s.alone, s.flushes = nil, 0, 0
	}
	return m, seen
}

// Whole blocks take one turn of the legs, after one write of the log: one call of
// each device. What cannot be done so is done by itself.
func TestWriteScattered(t *testing.T) {
	bare := func(off, n int64) device.Part { return device.Part{P: bytes.Repeat([]byte{9}, int(n)), Off: off} }
	scattered := func(n int64) (parts []device.Part) {
		for i := range n {
			parts = append(parts, block(2*i, byte(i+1)))
		}
		return parts
	}
	for _, c := range []struct {
		what     string
		kind     guard.Kind
		mode     JournalMode
		parts    []device.Part
		together []int
		alone    int
		log      int // how often its block is written, and flushed
	}{
		{"blocks", guard.CRC32C, JournalAuto, scattered(32), []int{32}, 0, 1},
		{"blocks, t10-dif", guard.T10DIF, JournalAuto, scattered(32), []int{32}, 0, 1},
		{"blocks, without guards", guard.None, JournalAuto, scattered(32), []int{32}, 0, 1},
		{"blocks, no journal used", guard.CRC32C, JournalNever, scattered(32), []int{32}, 0, 1},
		{"one block", guard.CRC32C, JournalAuto, scattered(1), nil, 1, 1},
		{"without sums", guard.CRC32C, JournalAuto, []device.Part{bare(0, BlockSize), bare(8*BlockSize, 3*BlockSize)}, []int{2}, 0, 1},
		{"a part of a block", guard.CRC32C, JournalAuto, []device.Part{block(1, 1), block(5, 5), bare(8*BlockSize, 512), block(10, 1), block(12, 1)}, []int{2, 2}, 1, 3},
		{"a part of a block, without guards", guard.None, JournalAuto, []device.Part{block(1, 1), bare(8*BlockSize, 512)}, []int{2}, 0, 1},
		{"two parts of a block", guard.None, JournalAuto, []device.Part{bare(0, 512), bare(512, 512)}, []int{1}, 1, 1},
		{"nothing", guard.CRC32C, JournalAuto, []device.Part{block(1, 1), bare(testData, 0), block(3, 1)}, []int{1}, 1, 1},
		{"all goes to the journal", guard.CRC32C, JournalAlways, scattered(4), nil, 4, 0},
	} {
		m, seen := spreading(t, c.kind, Options{Journal: c.mode})
		must(t, m.WriteScattered(c.parts))
		for _, s := range seen {
			if !slices.Equal(s.together, c.together) || s.alone != c.alone+c.log || s.flushes != c.log {
				t.Errorf("%s: %v together, %d writes, %d flushes", c.what, s.together, s.alone, s.flushes)
			}
		}
		if r := m.regions.count(); r.Dirty != 0 {
			t.Errorf("%s: %+v", c.what, r)
		}
		for _, p := range c.parts {
			if known := c.kind == guard.None || len(p.P) == 0 || c.mode == JournalAlways; !known {
				if known, err := m.guards.knows(p.Off/BlockSize*BlockSize, BlockSize); !known || err != nil {
					t.Errorf("%s: nothing is known of what is at %d: %v", c.what, p.Off, err)
				}
			}
			if got := get(t, m, p.Off, int64(len(p.P))); !bytes.Equal(got, p.P) {
				t.Errorf("%s: what is at %d reads otherwise", c.what, p.Off)
			}
		}
		must(t, m.Flush())
		must(t, m.Scrub(ScrubOptions{}))
		if s := m.Status().Scrub; s.Bad+s.Lost != 0 {
			t.Errorf("%s: %+v", c.what, s)
		}
	}
}

// A turn takes no more than it should, and what somebody is at waits for the next,
// in which it is waited for.
func TestWriteScatteredTurns(t *testing.T) {
	m, seen := spreading(t, guard.None, Options{})
	var parts []device.Part
	for i := range int64(testData / BlockSize) {
		parts = append(parts, block(i, byte(i)))
	}
	if n, err := m.spread(&writing, parts); n != spreadMost || err != nil || len(parts) <= spreadMost {
		t.Errorf("of %d parts: %d, %v", len(parts), n, err)
	}
	h := m.ranges.Acquire(4*BlockSize, BlockSize, rangelock.Exclusive)
	if n, err := m.spread(&writing, parts[1:8]); n != 3 || err != nil {
		t.Errorf("beside one that is held: %d, %v", n, err)
	}
	m.ranges.Release(h)
	if n, err := m.spread(&writing, parts[1:8]); n != 7 || err != nil {
		t.Errorf("when it is free: %d, %v", n, err)
	}
	batch(t, m, block(5, 77))
	if n, err := m.spread(&writing, parts[1:8]); n != 4 || err != nil {
		t.Errorf("beside one in the ring: %d, %v", n, err)
	}
	if n, err := m.spread(&writing, parts[5:8]); n != 0 || err != nil {
		t.Errorf("one in the ring: %d, %v", n, err)
	}
	for _, s := range seen {
		s.together = nil
	}
	must(t, m.WriteScattered(parts[1:8]))
	if got := get(t, m, 5*BlockSize, 1)[0]; got != 5 {
		t.Errorf("what the ring holds reads as %d", got)
	}
	for _, s := range seen {
		if !slices.Equal(s.together, []int{4, 2}) {
			t.Errorf("%v together", s.together)
		}
	}
}

// A part that does not fit its sum is not written, nor is what goes with it.
func TestWriteScatteredGuarded(t *testing.T) {
	for kind := guard.None; kind <= guard.T10DIF; kind++ {
		m, seen := spreading(t, kind, Options{})
		wrong := block(3, 1)
		wrong.Sums = []uint32{1}
		if err := m.WriteScattered([]device.Part{block(1, 1), wrong}); !errors.Is(err, device.ErrGuard) {
			t.Errorf("%v: with a wrong sum: %v", kind, err)
		}
		short := block(3, 1)
		short.Sums = append(short.Sums, 1)
		if err := m.WriteScattered([]device.Part{block(6, 1), short}); err == nil {
			t.Errorf("%v: with a sum too many: %v", kind, err)
		}
		if err := m.WriteScattered([]device.Part{block(8, 1), block(testData/BlockSize, 1)}); !errors.Is(err, device.ErrOutOfRange) {
			t.Errorf("%v: beyond the end: %v", kind, err)
		}
		if len(seen[0].together) != 0 {
			t.Errorf("%v: %v were written together", kind, seen[0].together)
		}
		for _, n := range []int64{1, 3} {
			if got := get(t, m, n*BlockSize, 1)[0]; got != 0 {
				t.Errorf("%v: block %d was written", kind, n)
			}
		}
	}
}

// A leg that fails in any part is failed, and what it missed is remembered. If all
// fail none is, the caller is told, and the regions of all parts await resync.
func TestWriteScatteredFails(t *testing.T) {
	for _, kind := range []guard.Kind{guard.None, guard.CRC32C} {
		for _, all := range []bool{false, true} {
			legs := ringed(t, 2, kind)
			front, faults := faulty(legs)
			m := open(t, front, Options{Manual: true})
			parts := []device.Part{block(1, 1), block(9, 2), block(33, 3)}
			must(t, m.WriteScattered(parts))
			must(t, m.Flush())
			faults[0].Add(faultdev.Rule{On: faultdev.Write, Nth: 2, Err: device.ErrIO})
			if all {
				faults[1].Add(faultdev.Rule{On: faultdev.Write, Nth: 3, Err: device.ErrIO})
			}
			again := []device.Part{block(1, 4), block(9, 5), block(33, 6)}
			err := m.WriteScattered(again)
			s := m.Status()
			failed := s.Legs[0].State == Failed
			if all != errors.Is(err, device.ErrIO) || all == failed || s.Legs[1].State != InSync {
				t.Fatalf("%v, all %v: %v, %+v", kind, all, err, s.Legs)
			}
			if want := map[bool]int64{true: 3}[all]; s.Resync.RegionsLeft != want {
				t.Errorf("%v, all %v: %d regions await resync", kind, all, s.Resync.RegionsLeft)
			}
			resyncAll(m)
			for i := range parts {
				got := get(t, m, parts[i].Off, 1)[0]
				if got != again[i].P[0] && (!all || got != parts[i].P[0]) {
					t.Errorf("%v, all %v: the block at %d reads as %d", kind, all, parts[i].Off, got)
				}
			}
			must(t, m.WriteScattered(again))
			must(t, m.Close())
			if all {
				wantSound(t, legs)
			}
		}
	}
}

// largePool is one in which scattered parts may have their guards in two blocks, and a
// checkpoint more to take home than it takes at once.
func largePool(t *testing.T) (*Mirror, []*spreads) {
	t.Helper()
	const size = 2 * guardSpan
	legs := memLegs(2, LegSize(size))
	must(t, Format(legs, FormatOptions{Size: size, RegionSize: testRegion, Guards: guard.CRC32C, Journal: 400 * BlockSize}))
	var seen []*spreads
	for i := range legs {
		seen = append(seen, &spreads{Device: legs[i].Dev})
		legs[i].Dev = seen[i]
	}
	return open(t, legs, Options{Manual: true}), seen
}

// A part that has its guards in two blocks is written by itself.
func TestWriteScatteredAcross(t *testing.T) {
	m, seen := largePool(t)
	across := device.Part{P: bytes.Repeat([]byte{7}, 2*BlockSize), Off: guardSpan - BlockSize}
	must(t, m.WriteScattered([]device.Part{block(1, 1), block(9, 1), across, block(guardSpan/BlockSize+3, 1), block(guardSpan/BlockSize-3, 1)}))
	if got := get(t, m, across.Off, 2*BlockSize); !bytes.Equal(got, across.P) || !slices.Equal(seen[0].together, []int{2, 2}) {
		t.Errorf("%v together, and it reads as %d and %d", seen[0].together, got[0], got[BlockSize])
	}
}

// A checkpoint takes home as much at once as it has room for, with the tuples that it
// has; what somebody is at is waited for, by itself.
func TestCheckpointIsScattered(t *testing.T) {
	m, seen := largePool(t)
	want := make([]byte, m.Size())
	var parts []device.Part
	for i := range int64(30) {
		p := device.Part{P: bytes.Repeat([]byte{byte(i + 1)}, 3*BlockSize), Off: i * 5 * BlockSize}
		parts = append(parts, p)
		copy(want[p.Off:], p.P)
	}
	batch(t, m, parts...)
	must(t, m.Flush())
	hs := m.lying(m.ring.held(0, m.Size(), nil))
	if n := m.readHaul(hs); n != len(hs) {
		t.Errorf("of %d versions %d are read at once", len(hs), n)
	}
	m.stopping.Store(true)
	if n, err := m.takeRuns(hs, false); n != 0 || err != nil {
		t.Errorf("as it stops: %d, %v", n, err)
	}
	m.stopping.Store(false)
	h := m.ranges.Acquire(10*BlockSize, BlockSize, rangelock.Shared)
	if n, err := m.takeRuns(hs, false); n != 6 || err != nil {
		t.Errorf("beside one that is read: %d, %v", n, err)
	}
	m.ranges.Release(h)
	for _, s := range seen {
		s.together, s.alone, s.flushes = nil, 0, 0
	}
	must(t, m.Checkpoint())
	for _, s := range seen {
		if per := homeBlocks / 3; !slices.Equal(s.together, []int{per, 30 - per}) {
			t.Errorf("%v together", s.together)
		}
	}
	if s := m.Status().Journal; s.Blocks != 0 || s.Homes != 90 {
		t.Errorf("%+v", s)
	}
	if !bytes.Equal(get(t, m, 0, m.Size()), want) || m.Status().Legs[0].ChecksumErrors != 0 {
		t.Error("what is at home is not what was written")
	}
}

// The blocks of the guard area that a flush writes are handed to a leg together,
// neighbours as one.
func TestGuardsAreWrittenTogether(t *testing.T) {
	const size = 8 * guardSpan
	legs := memLegs(2, LegSize(size))
	must(t, Format(legs, FormatOptions{Size: size, RegionSize: guardSpan, Guards: guard.CRC32C}))
	front := slices.Clone(legs)
	seen := &spreads{Device: front[0].Dev}
	front[0].Dev = seen
	m := open(t, front, Options{Manual: true})
	for _, spans := range [][]int64{{0, 1, 3, 6, 7}, {4}, {0, 2}} {
		for _, n := range spans {
			p := block(n*guardSpan/BlockSize+5, byte(n+1))
			must(t, m.WriteGuarded(p.P, p.Off, p.Sums))
		}
		seen.together = nil
		must(t, m.Flush())
		if want := map[int][]int{5: {3}, 1: nil, 2: {2}}[len(spans)]; !slices.Equal(seen.together, want) {
			t.Errorf("%v: %v together", spans, seen.together)
		}
	}
	must(t, m.Close())
	wantSound(t, legs)
	for i := range legs {
		m := open(t, legs[i:i+1], Options{Manual: true, Without: []string{identities(legs)[1-i].leg}})
		for n := range int64(8) {
			known, err := m.guards.knows(n*guardSpan+5*BlockSize, BlockSize)
			if want := n != 5; known != want || err != nil {
				t.Errorf("leg %d: of what is in the span %d: %v, %v", i, n, known, err)
			}
			if got := get(t, m, n*guardSpan+5*BlockSize, 1)[0]; known && got != byte(n+1) {
				t.Errorf("leg %d: span %d reads as %d", i, n, got)
			}
		}
		m.Abandon()
	}
}
