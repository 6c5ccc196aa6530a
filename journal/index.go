package journal

import "holdfast.dev/holdfast/internal/invariants"

// index knows, for each sector of the pool that the ring holds, where its newest
// version is.
type index struct {
	blocks map[uint64]*held
	free   []*held
}

// held is what the ring holds of a block. Positions are in sectors of the ring.
type held struct {
	sectors, zeros Sectors
	at             [sectorsPerBlock]uint64
	tuple          Tuple
	newest         uint64 // position of the entry that has the tuple
}

func newIndex() index { return index{blocks: make(map[uint64]*held)} }

// put adds an entry. Those of one block come in the order of their positions,
// since the caller does not write a block while it is being written.
func (x *index) put(e Entry, k kind, at uint64, _ []byte) {
	h := x.blocks[e.Block]
	if h == nil {
		h = x.take()
		x.blocks[e.Block] = h
	}
	invariants.Check(h.newest <= at, "journal: block %d is at %d and then at %d", e.Block, h.newest, at)
	h.newest, h.tuple = at, e.Tuple
	next := at
	for s := range sectorsPerBlock {
		if e.Sectors&(1<<s) == 0 {
			continue
		}
		h.at[s] = next
		if k == kindData {
			next++
		}
	}
	h.sectors |= e.Sectors
	h.zeros &^= e.Sectors
	if k == kindZeros {
		h.zeros |= e.Sectors
	}
}

// take returns one that has no sectors.
func (x *index) take() *held {
	n := len(x.free)
	if n == 0 {
		return new(held)
	}
	h := x.free[n-1]
	x.free = x.free[:n-1]
	return h
}

// forget drops all that lies before a position of the ring, in blocks. It looks
// at everything, which for the largest ring takes some milliseconds, once for
// each checkpoint.
func (x *index) forget(tail uint64) {
	for b, h := range x.blocks {
		for s := range sectorsPerBlock {
			if h.at[s] < tail*sectorsPerBlock {
				h.sectors &^= 1 << s
			}
		}
		h.zeros &= h.sectors
		if h.sectors == 0 {
			delete(x.blocks, b)
			x.free = append(x.free, h)
		}
	}
}

// newest returns which sectors of an entry no later entry has.
func (x *index) newest(e Entry, k kind, at uint64) (left Sectors, tuple Tuple) {
	h := x.blocks[e.Block]
	if h == nil {
		return 0, tuple
	}
	next := at
	for s := range sectorsPerBlock {
		bit := Sectors(1) << s
		if e.Sectors&bit == 0 {
			continue
		}
		if h.sectors&bit != 0 && h.at[s] == next && (h.zeros&bit != 0) == (k == kindZeros) {
			left |= bit
		}
		if k == kindData {
			next++
		}
	}
	return left, h.tuple
}

// oldest is the least position that the block has something at.
func (h *held) oldest() uint64 {
	least := h.newest
	for s := range sectorsPerBlock {
		if h.sectors&(1<<s) != 0 {
			least = min(least, h.at[s])
		}
	}
	return least
}
