package mirror

import (
	"sync/atomic"

	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/internal/seam"
	"holdfast.dev/holdfast/journal"
)

// JournalMode says what goes to the journal.
type JournalMode string

const (
	// JournalAuto has small scattered writes that are about to be flushed go
	// there.
	JournalAuto JournalMode = "auto"
	// JournalAlways has all go there that fits one transaction. It is there to be
	// measured and explored.
	JournalAlways JournalMode = "always"
	// JournalNever has nothing go there.
	JournalNever JournalMode = "never"
)

const (
	// smallWrite is the longest part of a batch that goes to the ring, in bytes.
	// BenchmarkFlush, which writes scattered parts and flushes, and has them taken home
	// meanwhile, shows the ring at these parts of the time that writing home takes:
	//
	//	            4 KiB   8 KiB   16 KiB   32 KiB     64 KiB
	//	8 parts     0.3     0.3     0.4      0.6..1.5   2..3
	//	32 parts    0.2     0.5     0.8..1.6 1.8..2.3   2..3
	//
	// A single part of any size takes as long either way, and sets no region's mark
	// if it goes to the ring.
	smallWrite = 16 << 10
	// batchWrite is how long an operation may be that goes to the ring as a whole,
	// in bytes: what one transaction takes of the largest blocks.
	batchWrite = journal.MaxEntries * BlockSize

	// The ring is emptied in the background when it is filled to more than one part
	// of highWater, until no more than one of lowWater is: there is room for what
	// comes meanwhile, and what is written again soon leaves with one write.
	highWater = 2
	lowWater  = 4
)

// ring is the mirror's use of the journal. It has none if j is nil.
type ring struct {
	j    *journal.Journal
	mode JournalMode
	// binding is what the tuples of the blocks in the ring are made with: those of
	// the pool, or if it has none, of CRC-32C, so that what is in the ring is
	// checked in any pool.
	binding guard.Binding
	// bell wakes the task that makes room; rests is for its rest after a failure.
	bell, rests *seam.Alarm
	// emptying is held, across I/O, by who makes room: there is one checkpoint at a
	// time. haul is what it has read of the ring.
	emptying seam.Mutex
	haul     haul

	healing healing

	checkpoints, homes, replayed, lost atomic.Uint64
}

// init makes the ring ready for a pool that has no journal, or not yet.
func (r *ring) init(m *Mirror, mode JournalMode) {
	kind := m.geo.Guards
	if kind == guard.None {
		kind = guard.CRC32C
	}
	r.mode, r.binding = mode, guard.NewBinding(kind, m.pool)
	r.bell, r.rests = seam.NewAlarm(), seam.NewAlarm()
	r.healing.ended = seam.NewCond(&r.healing.mu)
}

// held appends to v, ascending, what the ring holds of the blocks that a range
// touches.
func (r *ring) held(off, n int64, v []journal.Version) []journal.Version {
	if r.j == nil || n == 0 {
		return v
	}
	return r.j.Find(uint64(off/BlockSize), uint64((off+n-1)/BlockSize)+1, v)
}

// lead says how much of a range, from its start, the ring holds nothing of; or if
// that is nothing, what it holds of the first block.
func (r *ring) lead(off, n int64) (free int64, first []journal.Version) {
	v := r.held(off, n, nil)
	if len(v) == 0 {
		return n, nil
	}
	if free = startOf(&v[0]) - off; free > 0 {
		return free, nil
	}
	return 0, v[:1]
}

// startOf is where in the data a version's block begins.
func startOf(v *journal.Version) int64 { return int64(v.Block) * BlockSize }

// mark returns what a flush that begins now will make durable.
func (r *ring) mark() uint64 {
	if r.j == nil {
		return 0
	}
	return r.j.Mark()
}

// durable notes that it has, and fails if a flush is not to be acknowledged.
func (r *ring) durable(mark uint64) error {
	if r.j == nil {
		return nil
	}
	return r.j.Durable(mark)
}

// broken notes that what was written may be lost.
func (r *ring) broken(err error) {
	if r.j != nil {
		r.j.Break(err)
		r.bell.Ring()
	}
}

// filled says whether more than one part of so many is in use. If that is not
// even a half, any transaction has room.
func (r *ring) filled(parts int64) bool {
	s := r.j.Status()
	return s.Used*parts > s.Ring || int64(s.Taken)*parts > int64(s.Room)
}

// JournalStatus is what is known of the journal. Figures are counted from Open on.
type JournalStatus struct {
	Size int64 `json:"size"` // bytes of the ring on each leg; 0 is no journal
	Used int64 `json:"used"` // bytes of it
	// Blocks is of how many blocks the newest version may be in the ring only.
	Blocks int         `json:"blocks"`
	Mode   JournalMode `json:"mode"`
	// Transactions were written to it, and with Checkpoints room was made, for
	// which Homes blocks were written home.
	Transactions uint64 `json:"transactions"`
	Checkpoints  uint64 `json:"checkpoints"`
	Homes        uint64 `json:"homes"`
	// Replayed is how many blocks were in it at Open.
	Replayed uint64 `json:"replayed"`
	// Lost is how many blocks could be read back from no leg as they were written.
	Lost uint64 `json:"lost"`
	// Broken is why nothing can be made durable before it has been emptied.
	Broken string `json:"broken,omitempty"`
}

func (r *ring) status() JournalStatus {
	if r.j == nil {
		return JournalStatus{Mode: r.mode}
	}
	s := r.j.Status()
	js := JournalStatus{
		Size: s.Ring, Used: s.Used, Blocks: s.Blocks, Mode: r.mode, Transactions: s.Transactions,
		Checkpoints: r.checkpoints.Load(), Homes: r.homes.Load(), Replayed: r.replayed.Load(), Lost: r.lost.Load(),
	}
	if s.Broken != nil {
		js.Broken = s.Broken.Error()
	}
	return js
}
