package cache

import (
	"errors"
	"fmt"
	"sync"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/internal/mutant"
	"holdfast.dev/holdfast/internal/seam"
)

// A page's guard is the CRC-32C of what readers see of it: of its shadow where it
// has one, otherwise of its frame. It is taken when bytes are copied in, kept up
// while parts are overwritten, and handed to the backing with the bytes; so what
// flips in memory in between is found when it is written out, also in a page that
// was clean for long.
//
// A page has a guard only while nobody but the cache can change it: not while it
// is pinned to write, and never in a mapping that others have had in memory, whose
// promises are not relied on. There the sum is taken of what is written, once. Nor
// has a page that is not wholly valid; it gets one with its last sector.
//
// A page that does not fit its guard is damaged. It is not written, stays in
// memory, and nobody may read it, write a part of it, or pin it, until it is
// overwritten whole or discarded. The sum covers the page as a whole, so a flip in
// a part that was overwritten since is found as well, though its bytes are gone.

// errDamaged is what is wrong with a page that does not fit its guard.
var errDamaged = fmt.Errorf("memory changed between copy-in and write-out: %w", device.ErrGuard)

func (m *Mapping) damagedError(n int64) error {
	return fmt.Errorf("cache: %s: the page at %d cannot be used before it is overwritten whole or discarded: %w",
		m.o.Name, n*PageSize, errDamaged)
}

// sums has the sums of a run's pages.
type sums [runPages]uint32

// sumsPool lends them, so that write-out does not allocate.
var sumsPool = sync.Pool{New: func() any { return new(sums) }}

// sum is the place of the page's sum. Requires the page locked.
func (p *page) sum() *uint32 {
	return &p.m.leaves.at(p.n).sums[p.n%leafPages]
}

// canGuard says whether nobody but the cache can change a page with the word w.
func (m *Mapping) canGuard(w word) bool {
	return !m.c.o.Unguarded && !w.has(wmapped|amapped|wpinsMask) && !m.exposed.Load()
}

// takeGuard takes the sum of what a wholly valid page's frame holds, if it can have
// one, and returns the bit to set. Requires the page locked and without a shadow.
func (m *Mapping) takeGuard(pg *page, p []byte) word {
	if !m.canGuard(pg.load()) {
		return 0
	}
	*pg.sum() = guard.Sum(p)
	return guarded
}

// overwrite copies p to byte a of what the page holds for readers, and returns
// the bits to clear and to set of its guard. Requires the page locked and drained,
// w its word, and that it is not damaged if p is not the whole page.
//
// The sum is that of the bytes as they came to lie in memory: p may be somebody's
// who changes it meanwhile, and then the two would differ with nothing wrong.
func (m *Mapping) overwrite(pg *page, w word, a int, p []byte) (clear, set word) {
	all := m.contents(pg.n, w)
	part := all[a : a+len(p)]
	if w.valid()|sectorMask(a, a+len(p)) != allSectors || !m.canGuard(w) {
		copy(part, p)
		return guarded | damaged, 0
	}
	sum := pg.sum()
	if w.has(guarded) && len(p) < PageSize {
		before := guard.Sum(part)
		copy(part, p)
		*sum = guard.Exchange(*sum, a, len(p), before, guard.Sum(part))
		return 0, 0
	}
	copy(part, p)
	*sum = guard.Sum(all)
	return damaged, guarded
}

// sumFrames takes the sums of the run's frames as they are before write access is
// taken away: a mistake.
func (r *run) sumFrames() {
	r.prepareSums()
	for i := int64(0); r.sums != nil && i < r.count; i++ {
		r.sums[i] = guard.Sum(r.m.arena.frames(r.n+i, 1))
	}
	seam.Point("cache.sums", uint64(r.n))
}

// prepareSums gives a run of whole pages room for their sums.
func (r *run) prepareSums() {
	if r.mask == 0 && !r.m.c.o.Unguarded {
		r.sums = sumsPool.Get().(*sums)
	}
}

// takeSum notes the sum of the run's page i as it is to be written: its guard, or
// if it has none, or one that others may have made untrue, that of the bytes,
// which hold still by now. It returns the bit to set if that is a guard for the
// page too. Requires the page locked and protected, and copied before, so that
// whoever gets at the memory later has not changed what is written.
//
// A damaged page keeps its guard whoever has had the memory since: it is not to be
// written with a sum that fits what it is.
func (r *run) takeSum(pg *page, i int64) word {
	if r.sums == nil {
		return 0
	}
	w := pg.load()
	can := r.m.canGuard(w)
	if w.has(damaged) || can && w.has(guarded) {
		r.sums[i] = *pg.sum()
		return 0
	}
	if !mutant.On(mutant.GuardBeforeProtect) {
		r.sums[i] = guard.Sum(r.bytes()[i*PageSize:][:PageSize])
	}
	if !can {
		return 0
	}
	*pg.sum() = r.sums[i]
	return guarded
}

// finish writes a claimed run and completes it.
func (r *run) finish() {
	if err := r.write(); r.sums != nil && errors.Is(err, device.ErrGuard) {
		r.finishParts()
	} else {
		r.complete(err)
	}
	r.giveBack()
}

// finishParts completes a run of which the backing says that a page does not fit
// its sum. Those that do not have failed, each alone; what lies between them is
// written. Should the backing find fault with that again, it looks at something
// else, and it is a failure like any other.
func (r *run) finishParts() {
	for i := int64(0); i < r.count; {
		fit, n := r.fits(i), int64(1)
		for fit && i+n < r.count && r.fits(i+n) {
			n++
		}
		part := *r
		part.n, part.count, part.skip = r.n+i, n, i
		if fit {
			part.complete(part.write())
		} else {
			part.complete(errDamaged)
		}
		i += n
	}
}

// fits says whether page i of the run fits its sum.
func (r *run) fits(i int64) bool {
	return guard.Sum(r.bytes()[i*PageSize:][:PageSize]) == r.sums[i]
}

// judge says whether a page whose write-out failed for its guard is damaged, and
// returns the bit to set: perhaps only a snapshot was, or the page was overwritten
// meanwhile. Requires the page locked and its shadow folded.
func (m *Mapping) judge(pg *page) word {
	w := pg.load()
	if !w.has(guarded) || guard.Sum(m.arena.frames(pg.n, 1)) == *pg.sum() {
		return 0
	}
	if !w.has(damaged) {
		m.c.counters.damaged.Add(1)
	}
	return damaged
}
