package mirror

import (
	"bytes"
	"fmt"
	"math/bits"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/internal/seam"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

const (
	// mendBlocks is how many blocks are mended at once: as many as a mask has
	// bits. A writer behind them waits a millisecond or so.
	mendBlocks = 64
	mendPiece  = mendBlocks * BlockSize
)

// mendFlags say how to mend.
type mendFlags uint8

const (
	// mendAll writes every leg whether it differs or not.
	mendAll mendFlags = 1 << iota
	// mendLook changes nothing.
	mendLook
)

// mender makes the legs equal in a piece of data, whoever asks: a read that
// failed, the resync, a scrub. It reads all legs, decides for each block which
// copy is the truth, and writes that to the legs that have another.
type mender struct {
	m *Mirror
	// data is what each leg has, out the truth.
	data [MaxLegs][]byte
	out  []byte
	// tuples are the guards of the piece, as they are in memory and then as
	// they are decided; theirs are those of each leg, where tuples are unsure.
	tuples []guard.Tuple
	theirs [MaxLegs][]guard.Tuple
	block  []byte // of the guard area

	// The piece at hand. Masks have a bit for each of its blocks.

	off, n int64
	// in are the legs of which one has the truth, targets those that are to have
	// it: some may be joining.
	in, targets legMask
	source      int
	// fills says that a leg is joining that lacks what is there: it has none of
	// the guards either.
	fills bool
	// crash says that legs may differ, and no copy of a block fit its guard, for
	// no fault of theirs.
	crash bool
	// changed says that something was written after a crash. It has to be durable
	// before anything that was decided is told: another crash could have it
	// decided otherwise.
	changed bool

	have   [MaxLegs]uint64 // read
	put    [MaxLegs]uint64 // to be written
	faulty [MaxLegs]uint64 // found to hold something else than was written
	unsure uint64          // tuples about which the legs disagree
	fresh  uint64          // tuples that were decided anew
	bad    uint64          // blocks of which there is no sound copy
	lost   error           // why, of the first of them
	// undecided are blocks of which no copy fitted its guard after a crash.
	undecided uint64
}

func newMender(m *Mirror) *mender {
	return &mender{m: m, out: device.Aligned(m.mendMost()), block: device.Aligned(BlockSize), tuples: make([]guard.Tuple, mendBlocks)}
}

// mendMost is the longest piece that there is in the pool.
func (m *Mirror) mendMost() int { return int(min(mendPiece, m.geo.RegionSize)) }

// pieceAt returns how much of [off, off+n) can be mended at once: whole blocks
// of one region that have their guards in one block.
func (md *mender) pieceAt(off, n int64) int64 {
	region := md.m.geo.RegionSize
	return min(ondisk.RoundUp(n, BlockSize), mendPiece, region-off%region, guardSpan-off%guardSpan)
}

// mend makes the legs equal in a piece. Blocks of which there is no sound copy
// are left, and told by badIn. Requires the range exclusively.
func (md *mender) mend(off, n int64, how mendFlags) error {
	m := md.m
	if m.closed.Load() {
		return device.ErrClosed
	}
	md.begin(off, n)
	if err := md.readLegs(); err != nil {
		return err
	}
	b, err := md.holdGuards()
	if err != nil {
		return err
	}
	if b != nil {
		defer m.guards.drop(b)
	}
	for i := range int(n / BlockSize) {
		md.decide(i)
	}
	for i := range m.legs() {
		if md.targets.has(i) {
			md.compare(i, how)
		}
	}
	if how&mendLook != 0 {
		md.tellBad()
		return nil
	}
	return md.carryOut(b, how)
}

// begin looks at what there is to know of a piece.
func (md *mender) begin(off, n int64) {
	rs := md.m.regions
	*md = mender{m: md.m, data: md.data, out: md.out, tuples: md.tuples, theirs: md.theirs, block: md.block,
		off: off, n: n}
	r := md.m.roll()
	md.in, md.targets = r.in, r.targets()
	region, _ := rs.span(off, 1)
	md.crash = !rs.calm(off, n)
	_, waits := rs.route(off, n)
	md.fills = waits && md.targets != md.in
	for i := range md.m.legs() {
		if md.data[i] == nil && md.targets.has(i) {
			md.data[i] = device.Aligned(md.m.mendMost())
			md.theirs[i] = make([]guard.Tuple, tuplesPerBlock)
		}
	}
	md.source = rs.sourceOf(region, md.in)
}

// readLegs reads the piece from every leg; block by block where it cannot be
// read at once, so that two legs with different bad blocks make a whole one.
func (md *mender) readLegs() error {
	var first error
	some := false
	for i := range md.m.legs() {
		if !md.targets.has(i) {
			continue
		}
		err := md.m.readLeg(i, md.data[i][:md.n], md.off)
		if err == nil {
			md.have[i] = ^uint64(0)
		} else if first == nil && md.in.has(i) {
			first = err
		}
		if err != nil && md.n > BlockSize {
			for b := range int(md.n / BlockSize) {
				if md.m.readLeg(i, md.blockOf(i, b), md.off+int64(b)*BlockSize) == nil {
					md.have[i] |= 1 << b
				}
			}
		}
		some = some || md.in.has(i) && md.have[i] != 0
	}
	if !some {
		return first
	}
	md.lost = first
	return nil
}

// holdGuards gets the tuples of the piece, and those of each leg where the legs
// disagree.
func (md *mender) holdGuards() (*guardBlock, error) {
	g := md.m.guards
	if !g.on() {
		return nil, nil
	}
	b, err := g.hold(md.off)
	if err != nil {
		return nil, err
	}
	count := int(md.n / BlockSize)
	if !g.copyOut(md.tuples[:count], b, md.off) {
		return b, nil
	}
	for i := range count {
		if g.unsureAt(b, md.off+int64(i)*BlockSize) {
			md.unsure |= 1 << i
		}
	}
	for i := range md.m.legs() {
		clear(md.theirs[i])
		if md.in.has(i) && md.m.readTuples(i, md.block, b.index) == nil {
			decodeTuples(md.theirs[i], md.block)
		}
	}
	return b, nil
}

// blocks is the mask of all blocks of the piece.
func (md *mender) blocks() uint64 { return ^uint64(0) >> (mendBlocks - md.n/BlockSize) }

func (md *mender) blockOf(leg, i int) []byte { return md.data[leg][i*BlockSize:][:BlockSize] }

// badIn returns an error if there is no sound copy of some block that n bytes
// from at on touch, at counted from the start of the piece.
func (md *mender) badIn(at, n int64) error {
	first, last := at/BlockSize, (at+n-1)/BlockSize
	mask := ^uint64(0) << first & (^uint64(0) >> (mendBlocks - 1 - last))
	if md.bad&mask == 0 {
		return nil
	}
	return md.lost
}

// unsettled returns an error if there is no sound copy of some block, and no
// guard that keeps what a leg holds there from being read.
func (md *mender) unsettled() error {
	for i := range int(md.n / BlockSize) {
		if md.bad>>i&1 != 0 && !(md.m.guards.on() && md.tuples[i].Known()) {
			return md.lost
		}
	}
	return nil
}

// compare finds what a leg has to be given, and what it is to be charged with:
// a copy, or a tuple, that is not what was written to it.
func (md *mender) compare(leg int, how mendFlags) {
	for i := range int(md.n / BlockSize) {
		bit := uint64(1) << i
		if md.bad&bit != 0 {
			md.faulty[leg] |= bit & md.have[leg]
			continue
		}
		same := md.have[leg]&bit != 0 && bytes.Equal(md.blockOf(leg, i), md.out[i*BlockSize:][:BlockSize])
		if !same || how&mendAll != 0 {
			md.put[leg] |= bit
		}
		if md.have[leg]&bit != 0 && md.wrong(leg, i, same) {
			md.faulty[leg] |= bit
		}
	}
	if md.crash || !md.in.has(leg) {
		md.faulty[leg] = 0
	}
}

// wrong says whether a leg has something else than was written of a block whose
// copy there is the same as the truth, or not. A tuple that is another and yet
// fits harms nobody: the t10-dif kind does not cover its version.
func (md *mender) wrong(leg, i int, same bool) bool {
	if !same {
		return md.tuples[i].Known()
	}
	if md.unsure>>i&1 == 0 {
		return false
	}
	t := md.theirs[leg][tupleIndex(md.off)+i]
	return !t.Known() || !md.m.guards.binding.Holds(t, md.number(i), md.blockOf(leg, i))
}

// carryOut writes what was decided.
func (md *mender) carryOut(b *guardBlock, how mendFlags) error {
	m, rs := md.m, md.m.regions
	md.chargeLegs(how)
	work := md.fresh
	if b != nil && md.fills {
		work = md.blocks()
	}
	for leg := range m.legs() {
		work |= md.put[leg]
	}
	if work == 0 {
		return nil
	}
	first, last := rs.span(md.off, md.n)
	durable := rs.begin(first, last)
	defer rs.end(first, last)
	if !durable {
		if err := m.ensure(first, last); err != nil {
			return err
		}
	}
	md.changed = md.crash
	if err := md.writeLegs(); err != nil {
		return err
	}
	if md.crash || md.fills {
		// That is resync, whoever came first.
		m.resync.differed.Add(uint64(md.written()))
		m.resync.bytesWritten.Add(uint64(md.written()) * BlockSize)
	}
	if b == nil {
		return nil
	}
	for i := range int(md.n / BlockSize) {
		if md.fresh>>i&1 != 0 {
			m.guards.set(b, md.off+int64(i)*BlockSize, md.tuples[i:i+1])
		}
	}
	if how&mendAll != 0 || md.fills {
		m.guards.touch(b)
	}
	return nil
}

// writeLegs writes to each leg the blocks that it lacks, neighbours together.
func (md *mender) writeLegs() error {
	m, ok := md.m, md.targets
	var err error
	for leg := range m.legs() {
		for left := md.put[leg]; left != 0 && ok.has(leg); {
			from := bits.TrailingZeros64(left)
			count := bits.TrailingZeros64(^(left >> from))
			seam.Point("mirror.heal", uint64(md.off)+uint64(from)*BlockSize)
			at := int64(from) * BlockSize
			if e := writeFull(m.leg(leg), md.out[at:][:count*BlockSize], m.geo.DataOff()+md.off+at); e != nil {
				m.charge(m.leg(leg), &m.leg(leg).writeErrors, "heal", m.geo.DataOff()+md.off+at, int64(count)*BlockSize, e)
				err, ok = fmt.Errorf("leg %s: %w", m.leg(leg).name, e), ok&^(1<<leg)
			}
			left &^= (1<<count - 1) << from
		}
	}
	return m.settle(ok, err)
}

// written is how many blocks the legs were given.
func (md *mender) written() (blocks int) {
	for leg := range md.m.legs() {
		blocks += bits.OnesCount64(md.put[leg])
	}
	return blocks
}
