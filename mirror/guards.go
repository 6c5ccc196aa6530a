package mirror

import (
	"cmp"
	"slices"

	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/internal/invariants"
	"holdfast.dev/holdfast/internal/seam"
)

const (
	// tuplesPerBlock is how many data blocks one block of the guard area is for.
	tuplesPerBlock = BlockSize / guard.TupleSize
	// guardSpan is how much data that is, in bytes: 2 MiB.
	guardSpan = tuplesPerBlock * BlockSize
	// maxGuardBlocks is how many blocks of the guard area are kept in memory:
	// 32 MiB, the guards of 16 GiB of data. More are kept only while they are in
	// use or still to be written.
	maxGuardBlocks = 8192
)

// guards is the part of the guard area that is in memory. A tuple there is the
// truth about its data block, whatever the legs hold: it is changed when the
// block has been written to the legs, and reaches them with the next flush.
//
// A tuple is read and changed by who holds the range of its data block; mu is
// for the blocks of the guard area, which hold tuples of many.
type guards struct {
	m       *Mirror
	kind    guard.Kind
	binding guard.Binding

	mu     seam.Mutex
	loaded *seam.Cond
	// All below is guarded by mu, and so are the fields of the blocks.

	blocks map[int64]*guardBlock
	// clock has all blocks, in the order in which they are looked at for one
	// that may leave; hand is the next.
	clock []*guardBlock
	hand  int
	dirty int
}

// guardBlock is a block of the guard area.
type guardBlock struct {
	index   int64 // within the area
	users   int   // who hold it, or wait for it to be loaded
	loading bool
	err     error // of loading
	recent  bool  // used since the hand passed it
	dirty   bool  // not written since it was changed
	// unsure has a bit for each tuple about which the legs disagreed when the
	// block was loaded. It is settled when the data block is mended or written.
	unsure [tuplesPerBlock / 64]uint64
	tuples [tuplesPerBlock]guard.Tuple
}

func newGuards(m *Mirror) *guards {
	g := &guards{m: m, kind: m.geo.Guards, blocks: make(map[int64]*guardBlock)}
	g.binding = guard.NewBinding(g.kind, m.pool)
	g.loaded = seam.NewCond(&g.mu)
	return g
}

// on says whether the pool has guards.
func (g *guards) on() bool { return g.kind != guard.None }

// hold returns the block that has the tuple of the data at off, and keeps it in
// memory until drop.
func (g *guards) hold(off int64) (*guardBlock, error) {
	offs, blocks := [1]int64{off}, [1]*guardBlock{}
	err := g.holdAll(offs[:], blocks[:])
	return blocks[0], err
}

// holdAll holds the blocks of several offsets, and reads those together that are not in
// memory. If one cannot be read it holds none.
func (g *guards) holdAll(offs []int64, blocks []*guardBlock) error {
	for g.full() {
		// Those that could leave have to be written first.
		if err := g.m.flushLegs(); err != nil {
			return err
		}
	}
	absent, ready := g.find(offs, blocks)
	if ready {
		return nil
	}
	if len(absent) > 0 {
		g.load(absent)
	}
	return g.await(blocks)
}

// find finds the blocks of some offsets, which have one user more from here on. It
// returns those that it has made, for the caller to load, and whether all are there.
func (g *guards) find(offs []int64, blocks []*guardBlock) (absent []*guardBlock, ready bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	ready = true
	for i, off := range offs {
		b, ok := g.blocks[off/guardSpan]
		if ok {
			b.users++
			b.recent = true
		} else {
			b = g.add(off / guardSpan)
			absent = append(absent, b)
		}
		blocks[i] = b
		ready = ready && !b.loading && b.err == nil
	}
	return absent, ready
}

// await waits until blocks are loaded. If one could not be it lets all go.
func (g *guards) await(blocks []*guardBlock) (err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, b := range blocks {
		for b.loading {
			g.loaded.Wait()
		}
		err = cmp.Or(err, b.err)
	}
	for i, b := range blocks {
		if err != nil {
			g.release(b)
			blocks[i] = nil
		}
	}
	return err
}

// add makes a block that is to be loaded, with one user, and lets another go
// for it if there are too many. Requires g.mu.
func (g *guards) add(index int64) *guardBlock {
	if len(g.clock) >= maxGuardBlocks {
		g.evict()
	}
	b := &guardBlock{index: index, users: 1, loading: true}
	g.blocks[index] = b
	g.clock = append(g.clock, b)
	return b
}

// evict lets one block go that is neither in use nor to be written, and was not
// used lately, if there is one. Requires g.mu.
func (g *guards) evict() {
	for range 2 * len(g.clock) {
		g.hand %= len(g.clock)
		b := g.clock[g.hand]
		if b.users == 0 && !b.dirty && !b.recent {
			g.forget(g.hand)
			return
		}
		b.recent = false
		g.hand++
	}
}

// forget takes the block at a place of the clock out of memory. Requires g.mu.
func (g *guards) forget(at int) {
	b, last := g.clock[at], len(g.clock)-1
	invariants.Check(b.users == 0 && !b.dirty, "guards: block %d leaves with %d users, dirty %v", b.index, b.users, b.dirty)
	delete(g.blocks, b.index)
	g.clock[at] = g.clock[last]
	g.clock[last] = nil
	g.clock = g.clock[:last]
}

// full says whether so much is to be written that nothing could leave.
func (g *guards) full() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.dirty >= maxGuardBlocks/2
}

// drop ends a hold.
func (g *guards) drop(b *guardBlock) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.release(b)
}

// release ends a use. A block that could not be loaded goes with its last user,
// so that the next one tries again. Requires g.mu.
func (g *guards) release(b *guardBlock) {
	b.users--
	invariants.Check(b.users >= 0, "guards: block %d has %d users", b.index, b.users)
	if b.err != nil && b.users == 0 {
		g.forget(slices.Index(g.clock, b))
	}
}

// knows says whether there is a guard of any block from off on, n bytes that have
// theirs in one block, or the legs disagree about one.
func (g *guards) knows(off, n int64) (bool, error) {
	b, err := g.hold(off)
	if err != nil {
		return false, err
	}
	defer g.drop(b)
	var tuples [tuplesPerBlock]guard.Tuple
	of := tuples[:n/BlockSize]
	return g.copyOut(of, b, off) || slices.ContainsFunc(of, guard.Tuple.Known), nil
}

// copyOut copies the tuples of the data blocks from off on to dst, and says
// whether any of them is unsure.
func (g *guards) copyOut(dst []guard.Tuple, b *guardBlock, off int64) (unsure bool) {
	first := tupleIndex(off)
	g.mu.Lock()
	defer g.mu.Unlock()
	copy(dst, b.tuples[first:])
	for i := range dst {
		unsure = unsure || hasBit(b.unsure[:], first+i)
	}
	return unsure
}

// unsureAt says whether the legs disagree about the tuple of the data at off.
func (g *guards) unsureAt(b *guardBlock, off int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return hasBit(b.unsure[:], tupleIndex(off))
}

// set changes the tuples of the data blocks from off on, which settles them.
func (g *guards) set(b *guardBlock, off int64, tuples []guard.Tuple) {
	first := tupleIndex(off)
	g.mu.Lock()
	defer g.mu.Unlock()
	copy(b.tuples[first:], tuples)
	for i := range tuples {
		clearBit(b.unsure[:], first+i)
	}
	g.markDirty(b)
}

// wrote gives the data blocks from off on, which have just been written, their
// next tuples. data is nil if zeros were written.
func (g *guards) wrote(b *guardBlock, off int64, sums []uint32, data []byte) {
	var tuples [tuplesPerBlock]guard.Tuple
	next := tuples[:len(sums)]
	g.copyOut(next, b, off)
	number := uint64(off / BlockSize)
	for i, sum := range sums {
		block := zeroBlock[:]
		if data != nil {
			block = data[i*BlockSize:][:BlockSize]
		}
		next[i] = g.binding.Make(number+uint64(i), sum, block, next[i])
	}
	g.set(b, off, next)
}

var zeroBlock [BlockSize]byte

// touch has a block written with the next flush though it was not changed: some
// leg may hold another.
func (g *guards) touch(b *guardBlock) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.markDirty(b)
}

func (g *guards) markDirty(b *guardBlock) {
	if !b.dirty {
		b.dirty = true
		g.dirty++
	}
}

// tupleIndex is where in its block of the guard area the tuple of the data at
// off stands.
func tupleIndex(off int64) int { return int(off / BlockSize % tuplesPerBlock) }
