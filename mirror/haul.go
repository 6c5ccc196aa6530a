package mirror

import (
	"cmp"
	"slices"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/journal"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

const (
	// haulMost is how much of the ring is read at once to be taken home, in bytes:
	// twice what a turn of the legs takes, for half of it may have been written again
	// since. The memory for it is kept; more gains nothing.
	haulMost = 2 * homeBlocks * BlockSize
	// haulGap is the most that lies between two versions which are read together,
	// in bytes: to read that much too takes no longer than another read.
	haulGap = 64 << 10
)

// homing is a version that goes home.
type homing struct {
	v *journal.Version
	// off is where it lies on any leg, or -1: it is zeros, or not in one piece.
	off int64
}

// lying returns versions in the order in which they lie in the ring.
func (m *Mirror) lying(vs []journal.Version) []homing {
	hs := make([]homing, len(vs))
	var few [2]journal.Piece
	for i := range vs {
		hs[i] = homing{v: &vs[i], off: -1}
		if p := m.ring.j.Pieces(&vs[i], few[:0]); len(p) == 1 && p[0].Len*device.SectorSize == BlockSize {
			hs[i].off = p[0].Off
		}
	}
	slices.SortFunc(hs, func(a, b homing) int {
		return cmp.Or(cmp.Compare(a.off, b.off), byBlock(a, b))
	})
	return hs
}

func byBlock(a, b homing) int { return cmp.Compare(a.v.Block, b.v.Block) }

// haul is a part of the ring as one leg has it, of which versions are taken home. It
// belongs to who holds ring.emptying.
type haul struct {
	buf  []byte
	off  int64 // where on a leg it begins
	good bool  // what lies between its versions aside, it was read
}

// of is the memory for n versions from x on that are alike, and not zeros.
func (h *haul) of(x *homing, n int) []byte {
	if x.off < 0 {
		return h.buf[:BlockSize]
	}
	return h.buf[x.off-h.off:][:n*BlockSize]
}

// readHaul reads the first versions, as many as lie near each other in the ring, in
// as few reads of one leg as that takes. It returns how many, and has them ascend.
// Those that are in no piece are none of it, and come first.
func (m *Mirror) readHaul(hs []homing) (n int) {
	h := &m.ring.haul
	if h.buf == nil {
		h.buf = device.Aligned(int(min(haulMost, m.geo.Areas[ondisk.AreaJournal].Len)))
	}
	if hs[0].off < 0 {
		h.good = false
		n, _ = slices.BinarySearchFunc(hs, 0, func(x homing, at int64) int { return cmp.Compare(x.off, at) })
		return n
	}
	h.off, h.good = hs[0].off/BlockSize*BlockSize, true
	leg := m.pick(m.inSync(), h.off)
	for n < len(hs) && h.end(&hs[n]) <= len(h.buf) {
		from := n
		for n++; n < len(hs) && h.end(&hs[n]) <= len(h.buf) && hs[n].off-hs[n-1].off <= BlockSize+haulGap; n++ {
		}
		first := int(hs[from].off-h.off) / BlockSize * BlockSize
		h.good = h.good && m.readArea(leg, h.buf[first:h.end(&hs[n-1])], h.off+int64(first)) == nil
	}
	slices.SortFunc(hs[:n], byBlock)
	return n
}

// end is where in the memory the last block of a leg ends that has any of a version.
func (h *haul) end(x *homing) int { return int(ondisk.RoundUp(x.off+BlockSize-h.off, BlockSize)) }

// readHomed sees to it that what the haul has of a version is as it was written, if
// any leg has that.
func (m *Mirror) readHomed(x *homing) error {
	h := &m.ring.haul
	p := h.of(x, 1)
	switch {
	case !h.good:
		return m.readVersion(x.v, p, nil)
	case m.ring.binding.Holds(guard.Tuple(x.v.Tuple), x.v.Block, p):
		return nil
	default:
		// Every leg is looked at, so that the one that has it otherwise is charged.
		return m.readVersion(x.v, p, &ringScrub{})
	}
}
