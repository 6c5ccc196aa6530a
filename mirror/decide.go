package mirror

import (
	"fmt"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/guard"
)

// decide finds the truth about a block.
//
// Without guards, or where nothing is known of the block, it is what the source
// has, or any leg that can be read. With guards it is a copy that fits the
// tuple; where the legs disagree about that, the newest that any copy fits,
// whichever leg has the one and whichever the other. If none fits, the block was
// in flight when the program stopped: then what the source has is taken for the
// truth, and gets a new tuple; or there was no crash, and there is no truth.
func (md *mender) decide(i int) {
	bit := uint64(1) << i
	var t guard.Tuple
	leg := -1
	switch {
	case !md.m.guards.on():
		leg = md.fitting(i, t)
	case md.unsure&bit == 0:
		t = md.tuples[i]
		leg = md.fitting(i, t)
	default:
		t, leg = md.newestFitting(i)
		md.fresh |= bit
	}
	if leg < 0 && md.crash {
		if leg = md.fitting(i, guard.Tuple{}); leg >= 0 {
			md.undecided |= bit
			md.fresh |= bit
			data := md.blockOf(leg, i)
			t = md.m.guards.binding.Make(md.number(i), guard.Sum(data), data, md.tuples[i])
		}
	}
	if leg < 0 {
		md.fresh &^= bit
		md.giveUp(i)
		return
	}
	md.tuples[i] = t
	copy(md.out[i*BlockSize:], md.blockOf(leg, i))
}

func (md *mender) number(i int) uint64 { return uint64(md.off/BlockSize) + uint64(i) }

// fitting returns a leg whose copy of a block fits a tuple, the source before
// others, or -1.
func (md *mender) fitting(i int, t guard.Tuple) int {
	n := len(md.m.legs())
	for k := range n {
		leg := (md.source + k) % n
		if md.in.has(leg) && md.have[leg]>>i&1 != 0 && md.m.guards.binding.Holds(t, md.number(i), md.blockOf(leg, i)) {
			return leg
		}
	}
	return -1
}

// newestFitting returns the newest of the legs' tuples that any leg's copy fits,
// and that leg, or -1. A tuple that knows nothing counts only if no leg has
// another.
func (md *mender) newestFitting(i int) (best guard.Tuple, leg int) {
	leg = -1
	at, kind, known := tupleIndex(md.off)+i, md.m.guards.kind, false
	for k := range md.m.legs() {
		if !md.in.has(k) || !md.theirs[k][at].Known() {
			continue
		}
		t := md.theirs[k][at]
		known = true
		if leg >= 0 && !kind.Newer(t, best) {
			continue
		}
		if fits := md.fitting(i, t); fits >= 0 {
			best, leg = t, fits
		}
	}
	if !known {
		leg = md.fitting(i, best)
	}
	return best, leg
}

// giveUp notes that there is no sound copy of a block.
func (md *mender) giveUp(i int) {
	if md.bad == 0 {
		read := false
		for leg := range md.m.legs() {
			read = read || md.in.has(leg) && md.have[leg]>>i&1 != 0
		}
		if read || md.lost == nil {
			md.lost = fmt.Errorf("%w: the block at %d, on every leg that can be read: write it anew, or restore it", device.ErrGuard, md.off+int64(i)*BlockSize)
		}
	}
	md.bad |= 1 << i
}
