package journal

import (
	"cmp"
	"slices"
)

// Version is what the journal holds of a block: laid over what is at home it is
// the block's newest content.
type Version struct {
	Block uint64
	// Sectors are those that the journal holds; Zeros, of these, those that are
	// zeros and lie nowhere.
	Sectors, Zeros Sectors
	// Tuple is the guard of the whole block with them.
	Tuple Tuple

	at [sectorsPerBlock]uint64
}

// Piece is sectors of a block that lie side by side on a leg.
type Piece struct {
	First, Len int   // sectors of the block
	Off        int64 // bytes, on any leg
}

// Pieces appends to p where the version's sectors are, but for the zeros.
func (j *Journal) Pieces(v *Version, p []Piece) []Piece {
	for s := range sectorsPerBlock {
		if (v.Sectors&^v.Zeros)&(1<<s) == 0 {
			continue
		}
		off := j.blockOff(v.at[s]/sectorsPerBlock) + int64(v.at[s]%sectorsPerBlock)*sectorSize
		if n := len(p) - 1; n >= 0 && p[n].First+p[n].Len == s && p[n].Off+int64(p[n].Len)*sectorSize == off {
			p[n].Len++
			continue
		}
		p = append(p, Piece{First: s, Len: 1, Off: off})
	}
	return p
}

// Find appends to v, ascending, what the journal holds of the blocks in
// [from, to). What was read of their pieces counts only if Holds says afterwards
// that they were still there.
func (j *Journal) Find(from, to uint64, v []Version) []Version {
	j.mu.Lock()
	defer j.mu.Unlock()
	if to-from <= uint64(len(j.index.blocks)) {
		for b := from; b < to; b++ {
			if h := j.index.blocks[b]; h != nil {
				v = append(v, h.version(b))
			}
		}
		return v
	}
	had := len(v)
	for b, h := range j.index.blocks {
		if from <= b && b < to {
			v = append(v, h.version(b))
		}
	}
	slices.SortFunc(v[had:], byBlock)
	return v
}

func byBlock(a, b Version) int { return cmp.Compare(a.Block, b.Block) }

// Holds says whether a version's pieces have been in the ring all the while
// since it was found.
func (j *Journal) Holds(v *Version) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for s := range sectorsPerBlock {
		if v.Sectors&(1<<s) != 0 && v.at[s] < j.tail.pos*sectorsPerBlock {
			return false
		}
	}
	return true
}

func (h *held) version(b uint64) Version {
	return Version{Block: b, Sectors: h.sectors, Zeros: h.zeros, Tuple: h.tuple, at: h.at}
}
