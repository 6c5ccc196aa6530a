package mirror

import (
	"math/bits"
	"sync/atomic"

	"holdfast.dev/holdfast/internal/invariants"
	"holdfast.dev/holdfast/internal/seam"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// State is what the mirror knows of a region.
type State uint8

// The states of a region, and the only functions that change them:
//
//	from             to               by       when
//	any              Dirty            begin    a write starts; its bit is wanted
//	Dirty            MaybeDirty       end      the last write in flight ended
//	MaybeDirty       CleanCandidate   mark     a cycle starts
//	CleanCandidate   MaybeDirty       demote   the cycle may not clear it
//	CleanCandidate   Clean            settle   every condition of clearing holds
//
// At open, regions whose bit is set are MaybeDirty. The bit is wanted in every
// state but Clean.
const (
	Clean State = iota
	Dirty
	MaybeDirty
	CleanCandidate
	numStates
)

// String returns the name of the state.
func (s State) String() string {
	return [...]string{"CLEAN", "DIRTY", "MAYBE_DIRTY", "CLEAN_CANDIDATE"}[s]
}

// allowed is the table above.
var allowed = [numStates][numStates]bool{
	Clean:          {Dirty: true},
	Dirty:          {Dirty: true, MaybeDirty: true},
	MaybeDirty:     {Dirty: true, CleanCandidate: true},
	CleanCandidate: {Dirty: true, MaybeDirty: true, Clean: true},
}

// region is what is known of one region, in 16 bytes: a pool has up to 2^20.
type region struct {
	// lastWrite is the number of the newest leg flush that had begun when the
	// last write to the region ended. A later one covers that write.
	lastWrite uint64
	inflight  uint32 // writes
	state     State
	// source is the leg whose bytes are the truth in a region that awaits resync,
	// where no guard says better.
	source uint8
	flags  regionFlags
}

type regionFlags uint8

const (
	// awaiting: the legs may differ; they are made equal before anything is read.
	awaiting regionFlags = 1 << iota
	// rewrite: a flush failed on every leg, so what they hold may not be
	// durable though it reads well: resync writes it to all of them again.
	rewrite
	// inFlight: writes there may not have ended, for the pool stopped or they
	// failed on every leg; a block may be nowhere what its guard says.
	inFlight
	// again: it was put among the awaiting after its resync had begun.
	again
)

// regions is the table of all regions and their wanted and durable bits.
type regions struct {
	shift uint
	n     int

	// flushBegun is the number of the newest leg flush that has begun, and
	// flushGood that of the newest that succeeded.
	flushBegun, flushGood atomic.Uint64
	// awaitingCount lets reads skip the table where nothing awaits resync.
	awaitingCount atomic.Int64

	mu seam.Mutex
	// All below is guarded by mu.

	tab    []region
	counts [numStates]int
	// want is what the log should say, disk what it is known to say, durably,
	// on every in-sync leg. A bit that is being cleared is in neither.
	want, disk []uint64
	// committing is set while one task writes the log; turn is signalled at
	// the end of it.
	committing bool
	turn       *seam.Cond
}

func newRegions(g *ondisk.Geometry) *regions {
	n := g.Regions()
	words := ondisk.LogBlocks(n) * ondisk.LogWords
	r := &regions{
		shift: g.Shift(),
		n:     n,
		tab:   make([]region, n),
		want:  make([]uint64, words),
		disk:  make([]uint64, words),
	}
	r.counts[Clean] = n
	r.turn = seam.NewCond(&r.mu)
	return r
}

// span returns the first and last region that [off, off+n) touches.
func (rs *regions) span(off, n int64) (first, last int) {
	return int(off >> rs.shift), int((off + n - 1) >> rs.shift)
}

// set changes a region's state. Requires rs.mu.
func (rs *regions) set(i int, to State) {
	r := &rs.tab[i]
	if invariants.Enabled {
		invariants.Check(allowed[r.state][to], "region %d: %v to %v", i, r.state, to)
		invariants.Check((to == Dirty) == (r.inflight > 0), "region %d: %v with %d writes in flight", i, to, r.inflight)
		invariants.Check(r.flags&awaiting == 0 || to != Clean, "region %d: clean and awaiting resync", i)
	}
	seam.Point("mirror.region", uint64(i))
	rs.counts[r.state]--
	rs.counts[to]++
	r.state = to
}

// begin notes that a write to the regions starts, and says whether their bits
// are all durable already.
func (rs *regions) begin(first, last int) (durable bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	durable = true
	for i := first; i <= last; i++ {
		rs.tab[i].inflight++
		rs.set(i, Dirty)
		setBit(rs.want, i)
		durable = durable && hasBit(rs.disk, i)
	}
	return durable
}

// end notes that a write to the regions ended, whether it succeeded or not.
func (rs *regions) end(first, last int) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for i := first; i <= last; i++ {
		r := &rs.tab[i]
		invariants.Check(r.inflight > 0, "region %d: write ended that had not begun", i)
		// Read after the write has returned: a flush with a higher number
		// begins after that.
		r.lastWrite = rs.flushBegun.Load()
		r.inflight--
		if r.inflight == 0 {
			rs.set(i, MaybeDirty)
		}
	}
}

// run is a range of regions.
type run struct{ first, last int }

// mark makes candidates of all regions that may be clean and do not await
// resync, and returns them and those that are candidates already, ascending,
// neighbours joined.
func (rs *regions) mark() []run {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.counts[MaybeDirty]+rs.counts[CleanCandidate] == 0 {
		return nil
	}
	var runs []run
	for i := nextBit(rs.want, 0); i >= 0; i = nextBit(rs.want, i+1) {
		switch r := &rs.tab[i]; {
		case r.state == CleanCandidate:
		case r.state == MaybeDirty && r.flags&awaiting == 0:
			rs.set(i, CleanCandidate)
		default:
			continue
		}
		if n := len(runs); n > 0 && runs[n-1].last == i-1 {
			runs[n-1].last = i
		} else {
			runs = append(runs, run{i, i})
		}
	}
	return runs
}

// demote takes regions back that were made candidates.
func (rs *regions) demote(c run) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for i := c.first; i <= c.last; i++ {
		if rs.tab[i].state == CleanCandidate {
			rs.set(i, MaybeDirty)
		}
	}
}

// settle makes the candidates clean for which every condition holds, and
// demotes the others. full says, when asked, whether every leg of the pool is
// in sync; it is asked under the lock so that a leg that fails afterwards
// misses no write to a region that was found clean.
func (rs *regions) settle(runs []run, full func() bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	all := full()
	for _, c := range runs {
		for i := c.first; i <= c.last; i++ {
			r := &rs.tab[i]
			if r.state != CleanCandidate {
				continue
			}
			if all && r.inflight == 0 && r.flags&awaiting == 0 && rs.flushed(r) {
				rs.set(i, Clean)
				clearBit(rs.want, i)
			} else {
				rs.set(i, MaybeDirty)
			}
		}
	}
}

// flushed says whether the legs were flushed since the last write to r.
// Requires rs.mu.
func (rs *regions) flushed(r *region) bool { return rs.flushGood.Load() > r.lastWrite }

// load sets the table to what was found in the log. With resync, every region
// whose bit is set awaits it, with source as its source, and why.
func (rs *regions) load(found []uint64, resync bool, source int, why regionFlags) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	copy(rs.want, found)
	for i := nextBit(found, 0); i >= 0; i = nextBit(found, i+1) {
		rs.tab[i].state = MaybeDirty
		rs.counts[Clean]--
		rs.counts[MaybeDirty]++
		if resync {
			rs.await(i, source, why)
		}
	}
}

// await puts a region among those that await resync. Requires rs.mu.
func (rs *regions) await(i, source int, why regionFlags) {
	r := &rs.tab[i]
	invariants.Check(hasBit(rs.want, i), "region %d awaits resync and its bit is not wanted", i)
	if r.flags&awaiting == 0 {
		rs.awaitingCount.Add(1)
		r.source = uint8(source)
		r.flags = awaiting
		if r.state == CleanCandidate {
			rs.set(i, MaybeDirty)
		}
	}
	r.flags |= why | again
}

// spoil puts the regions of a write that failed on every leg among those that
// await resync: the legs may differ there.
func (rs *regions) spoil(first, last, source int) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for i := first; i <= last; i++ {
		rs.await(i, source, inFlight)
	}
}

// spoilUnflushed does it for all regions written since the last good flush,
// after a flush has failed on every leg.
func (rs *regions) spoilUnflushed(source int) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for i := nextBit(rs.want, 0); i >= 0; i = nextBit(rs.want, i+1) {
		if r := &rs.tab[i]; r.inflight > 0 || !rs.flushed(r) {
			rs.await(i, source, rewrite|inFlight)
		}
	}
}

// awaitAll puts every region whose bit is wanted among those that await resync.
func (rs *regions) awaitAll(source int) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for i := nextBit(rs.want, 0); i >= 0; i = nextBit(rs.want, i+1) {
		rs.await(i, source, 0)
	}
}

// touch makes the bits of regions wanted, as if they were written.
func (rs *regions) touch(bits []uint64) {
	for i := nextBit(bits, 0); i >= 0; i = nextBit(bits, i+1) {
		rs.begin(i, i)
		rs.end(i, i)
	}
}

// setAll sets the bits of all regions.
func (rs *regions) setAll(bits []uint64) {
	for i := range rs.n {
		setBit(bits, i)
	}
}

// RegionCounts is how many regions are in each state.
type RegionCounts struct {
	Total          int `json:"total"`
	Clean          int `json:"clean"`
	Dirty          int `json:"dirty"`
	MaybeDirty     int `json:"maybe_dirty"`
	CleanCandidate int `json:"clean_candidate"`
}

func (rs *regions) count() RegionCounts {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	c := &rs.counts
	return RegionCounts{rs.n, c[Clean], c[Dirty], c[MaybeDirty], c[CleanCandidate]}
}

func hasBit(b []uint64, i int) bool { return b[i>>6]>>(i&63)&1 != 0 }
func setBit(b []uint64, i int)      { b[i>>6] |= 1 << (i & 63) }
func clearBit(b []uint64, i int)    { b[i>>6] &^= 1 << (i & 63) }

// nextBit returns the first set bit at or after i, or -1.
func nextBit(b []uint64, i int) int {
	w := i >> 6
	if w >= len(b) {
		return -1
	}
	word := b[w] >> (i & 63) << (i & 63)
	for word == 0 {
		w++
		if w == len(b) {
			return -1
		}
		word = b[w]
	}
	return w<<6 + bits.TrailingZeros64(word)
}

func countBits(b []uint64) int {
	n := 0
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}
