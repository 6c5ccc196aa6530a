package mirror

import (
	"fmt"
)

// found is a leg that was given, and what its superblocks say.
type found struct {
	Leg
	copies copies
	sb     *superblock // the better copy
}

// assembly is a set of given legs that make a pool.
type assembly struct {
	newest *found
	// byIndex has the given legs in their places; nil where none was given.
	byIndex []*found
	// inSync are the legs to work with. The others are failed.
	inSync legMask
}

// identify reads the superblocks of every leg, and returns the legs that have
// one and an error for each of the others.
func identify(legs []Leg) (all []*found, errs []error) {
	if len(legs) < 1 || len(legs) > MaxLegs {
		return nil, []error{fmt.Errorf("%w: %d legs were given, a pool has from 1 to %d", ErrInvalid, len(legs), MaxLegs)}
	}
	for _, l := range legs {
		f := &found{Leg: l, copies: readCopies(l.Dev)}
		f.sb = f.copies.best()
		if f.sb == nil {
			errs = append(errs, fmt.Errorf("%s: %w", l.Name, f.copies.err()))
			continue
		}
		all = append(all, f)
	}
	return all, errs
}

// assemble says whether the legs make a pool that may be used, and how. Of
// the legs that the newest superblock lists as in sync every one must be
// there and up to date; one that it lists as failed is set aside. See the
// package comment for why this is enough (H10).
func assemble(all []*found) (*assembly, error) {
	if err := samePool(all); err != nil {
		return nil, err
	}
	a := &assembly{newest: all[0]}
	for _, f := range all {
		if f.sb.generation > a.newest.sb.generation {
			a.newest = f
		}
	}
	top := a.newest.sb
	a.byIndex = make([]*found, len(top.members))
	for _, f := range all {
		if err := a.place(f); err != nil {
			return nil, err
		}
	}
	for i, m := range top.members {
		if m.state != InSync {
			continue
		}
		if a.byIndex[i] == nil {
			return nil, fmt.Errorf("%w: leg %d (%s) of pool %s was not given, and was in sync with %s: give it too",
				ErrMissing, i, m.leg, top.pool, a.newest.Name)
		}
		a.inSync |= 1 << i
	}
	if a.inSync == 0 {
		return nil, fmt.Errorf("%w: %s lists no leg in sync", ErrCorrupt, a.newest.Name)
	}
	return a, nil
}

// samePool checks that the legs belong together and are different ones.
func samePool(all []*found) error {
	a := all[0]
	for i, b := range all[1:] {
		if b.sb.pool != a.sb.pool {
			return fmt.Errorf("%w: %s is of pool %s and %s of pool %s: give the legs of one pool",
				ErrForeign, a.Name, a.sb.pool, b.Name, b.sb.pool)
		}
		if b.sb.geometry != a.sb.geometry {
			return fmt.Errorf("%w: %s and %s disagree about sizes and places (data %d and %d bytes, regions %d and %d)",
				ErrCorrupt, a.Name, b.Name, a.sb.geometry.dataSize, b.sb.geometry.dataSize,
				a.sb.geometry.regionSize, b.sb.geometry.regionSize)
		}
		for _, o := range all[:i+1] {
			if o.sb.leg == b.sb.leg {
				return fmt.Errorf("%w: %s and %s are both leg %d (%s): give each leg once",
					ErrDuplicate, o.Name, b.Name, b.sb.index, b.sb.leg)
			}
		}
	}
	return nil
}

// place checks a leg against the newest superblock and puts it in its place.
func (a *assembly) place(f *found) error {
	top, sb := a.newest.sb, f.sb
	if sb.index >= len(top.members) || top.members[sb.index].leg != sb.leg {
		return fmt.Errorf("%w: %s (%s) is no leg of pool %s as %s knows it: leave it out",
			ErrForeign, f.Name, sb.leg, top.pool, a.newest.Name)
	}
	a.byIndex[sb.index] = f
	switch {
	case top.members[sb.index].state != InSync:
		return nil
	case sb.generation+1 < top.generation:
		return fmt.Errorf("%w: %s is at generation %d and %s at %d: it missed writes, so its data must not be used; give the copy of leg %d (%s) that is up to date",
			ErrStale, f.Name, sb.generation, a.newest.Name, top.generation, sb.index, sb.leg)
	case sb.generation == top.generation && !sb.sameView(top):
		return fmt.Errorf("%w: %s and %s disagree at generation %d: one of them was changed on its own",
			ErrCorrupt, a.newest.Name, f.Name, top.generation)
	case f.Dev.Size() < sb.legSize:
		return fmt.Errorf("%w: %s is %d bytes and was made with %d: was it cut short?",
			ErrTooSmall, f.Name, f.Dev.Size(), sb.legSize)
	}
	return nil
}

// mayWrite checks for features that let this program only read.
func (a *assembly) mayWrite() error {
	for _, f := range a.byIndex {
		if f != nil && f.sb.roCompat&^knownROCompat != 0 {
			return fmt.Errorf("%w: %s has features %#x that this program may read but not write: use a newer program",
				ErrUnsupported, f.Name, f.sb.roCompat&^knownROCompat)
		}
	}
	return nil
}

// behind says whether some leg in sync has superblocks to be brought up to
// those of the newest.
func (a *assembly) behind() bool {
	for i, f := range a.byIndex {
		if a.inSync.has(i) && (f.sb.generation != a.newest.sb.generation || !f.copies.settled()) {
			return true
		}
	}
	return false
}
