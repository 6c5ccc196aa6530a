package mirror

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"holdfast.dev/holdfast/internal/mutant"
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
	// gone are the legs listed as in sync or joining that are not to be used:
	// opening fails them.
	gone legMask
	// promote says that those joining are all there is, and are to be in sync.
	promote bool
	// deny holds, for failed legs that a person named, how far their word is
	// not to be taken.
	deny [MaxLegs]uint64
	// apart says that two legs tell different things of one generation.
	apart bool
	// lacking says that a leg listed as in sync was not given, and nobody has
	// said that it was to be done without.
	lacking bool
	// roll are the legs to work with.
	roll roll
	// strangers were given and are no legs of this pool, or cannot be told:
	// they are left alone.
	strangers []stranger
}

type stranger struct {
	Leg
	why error
}

// identify reads the superblocks of every leg, and returns the legs that have
// one and the others with the reason.
func identify(legs []Leg) (all []*found, bad []stranger) {
	if len(legs) < 1 || len(legs) > MaxLegs {
		return nil, []stranger{{why: fmt.Errorf("%w: %d legs were given, a pool has from 1 to %d", ErrInvalid, len(legs), MaxLegs)}}
	}
	for _, l := range legs {
		f := &found{Leg: l, copies: readCopies(l.Dev)}
		f.sb = f.copies.best()
		if f.sb == nil {
			bad = append(bad, stranger{l, fmt.Errorf("%s: %w", l.Name, f.copies.err())})
			continue
		}
		all = append(all, f)
	}
	return all, bad
}

// assembleGiven finds out what pool the legs are. Legs that cannot be told are
// refused, and those of another membership, unless the pool lacks none.
func assembleGiven(legs []Leg, without []string) (*assembly, error) {
	all, bad := identify(legs)
	if len(all) == 0 {
		return nil, bad[0].why
	}
	if err := allKnown(without, all, bad); err != nil {
		return nil, err
	}
	a, err := assemble(all, without)
	if len(bad) > 0 && errors.Is(err, ErrMissing) {
		return nil, bad[0].why
	}
	if err != nil {
		return nil, err
	}
	a.strangers = append(bad, a.strangers...)
	if a.lacking && len(a.strangers) > 0 {
		return nil, a.strangers[0].why // most likely it is the one that lacks
	}
	return a, nil
}

// allKnown says whether each leg to be done without is one that was given, or one
// that some superblock lists: a name that is mistyped would go unnoticed where the
// pool can do without anyway.
func allKnown(without []string, all []*found, bad []stranger) error {
	for _, name := range without {
		known := slices.ContainsFunc(bad, func(s stranger) bool { return s.Name == name })
		for _, f := range all {
			known = known || f.isNamed(name) || slices.ContainsFunc(f.sb.members, func(v member) bool {
				return v.state != Removed && isNamed(name, v.leg, "")
			})
		}
		if !known {
			return fmt.Errorf("%w: %s, which is to be done without", ErrNoLeg, name)
		}
	}
	return nil
}

// assemble says whether the legs make a pool that may be used, and how. The
// newest superblock is believed first, then the others, as long as they disagree
// about which of them went on alone. Legs named in without are neither believed
// nor used. See the package comment for why this is enough (H10).
func assemble(all []*found, without []string) (*assembly, error) {
	if err := samePool(all); err != nil {
		return nil, err
	}
	byAge := slices.Clone(all)
	slices.SortStableFunc(byAge, func(a, b *found) int { return cmp.Compare(b.sb.generation, a.sb.generation) })
	var first error
	for _, top := range byAge {
		if slices.ContainsFunc(without, top.isNamed) {
			continue
		}
		a, err := assembleAs(top, all, without)
		if err == nil {
			return a, nil
		}
		if first == nil {
			first = err
		}
		if !errors.Is(err, ErrDiverged) && !a.apart {
			break
		}
	}
	if first == nil {
		first = fmt.Errorf("%w: every leg that was given is named as one to do without", ErrInvalid)
	}
	return nil, first
}

// assembleAs assembles the pool that one leg's superblock tells of.
func assembleAs(top *found, all []*found, without []string) (*assembly, error) {
	a := &assembly{newest: top, byIndex: make([]*found, len(top.sb.members))}
	for _, f := range all {
		if mutant.On(mutant.StaleLegAccepted) && top.sb.lists(f.sb) {
			top.sb.members[f.sb.index] = f.sb.members[f.sb.index]
		}
		if err := a.place(f, without); err != nil {
			return a, err
		}
	}
	return a, a.callRoll(without)
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
func (a *assembly) place(f *found, without []string) error {
	top, sb := a.newest.sb, f.sb
	if !top.lists(sb) {
		a.strangers = append(a.strangers, stranger{f.Leg, fmt.Errorf("%w: %s (%s) is no leg of pool %s as %s knows it: it was replaced or removed, leave it out",
			ErrForeign, f.Name, sb.leg, top.pool, a.newest.Name)})
		return nil
	}
	a.byIndex[sb.index] = f
	named := slices.ContainsFunc(without, f.isNamed)
	if named {
		a.deny[sb.index] = sb.generation + 1
	}
	switch top.members[sb.index].state {
	case Failed:
		if f.wentOn(top) && !named {
			return &ChoiceError{fmt.Errorf("%w: %s and %s each went on without the other, and each may hold what the other lacks: choose the one to give up",
				ErrDiverged, a.newest.Name, f.Name), []string{sb.leg.String()}}
		}
		return nil
	case Joining:
		if named || sb.generation+1 < top.generation || sb.generation > top.generation || f.tooSmall() != nil {
			a.gone |= 1 << sb.index
			a.deny[sb.index] = sb.generation + 1
		}
		return nil
	}
	switch {
	case named:
		a.gone |= 1 << sb.index
		return nil
	case sb.generation+1 < top.generation && !mutant.On(mutant.StaleLegAccepted):
		return &ChoiceError{fmt.Errorf("%w: %s is at generation %d and %s at %d: it missed writes, so its data must not be used; give the copy of leg %d (%s) that is up to date",
			ErrStale, f.Name, sb.generation, a.newest.Name, top.generation, sb.index, sb.leg), []string{sb.leg.String()}}
	case sb.generation >= top.generation && !sb.sameView(top):
		// A change that was interrupted on the one, and another that the other
		// made without it.
		a.apart = true
		return fmt.Errorf("%w: %s and %s disagree at generation %d: one of them was changed on its own",
			ErrCorrupt, a.newest.Name, f.Name, top.generation)
	}
	return f.tooSmall()
}

// tooSmall says whether a leg is smaller than it was made.
func (f *found) tooSmall() error {
	if f.Dev.Size() >= f.sb.legSize {
		return nil
	}
	return fmt.Errorf("%w: %s is %d bytes and was made with %d: was it cut short?",
		ErrTooSmall, f.Name, f.Dev.Size(), f.sb.legSize)
}

// callRoll finds the legs that are not there, and says whether the others may
// go on without them.
func (a *assembly) callRoll(without []string) error {
	top := a.newest.sb
	missing, named := legMask(0), a.gone
	for i, v := range top.members {
		if a.byIndex[i] != nil || v.state != InSync && v.state != Joining {
			continue
		}
		a.gone |= 1 << i
		switch {
		case slices.ContainsFunc(without, func(s string) bool { return isNamed(s, v.leg, "") }):
			named |= 1 << i
		case v.state == InSync:
			missing |= 1 << i
		}
	}
	a.lacking = missing != 0
	needed := rollCall(top.members, named).in
	a.roll = rollCall(top.members, a.gone)
	if missing != 0 && (top.state != poolClean || !quorum(needed&^missing, needed)) {
		return a.missingError(missing)
	}
	if a.roll.in == 0 && len(without) > 0 && a.roll.joining != 0 {
		// Whoever names the last leg in sync has nothing better than these.
		a.promote = true
		a.roll.in, a.roll.joining = a.roll.joining, 0
	}
	if a.roll.in == 0 {
		return fmt.Errorf("%w: %s lists no other leg in sync", ErrCorrupt, a.newest.Name)
	}
	return nil
}

// mayWrite checks for features that let this program only read.
func (a *assembly) mayWrite() error {
	for _, f := range a.byIndex {
		if f != nil && f.sb.readOnly() != 0 {
			return fmt.Errorf("%w: %s has features %#x that this program may read but not write: use a newer program",
				ErrUnsupported, f.Name, f.sb.readOnly())
		}
	}
	return nil
}

// behind says whether some leg in sync has superblocks to be brought up to
// those of the newest.
func (a *assembly) behind() bool {
	for i, f := range a.byIndex {
		if a.roll.targets().has(i) && (f.sb.generation != a.newest.sb.generation || !f.copies.settled()) {
			return true
		}
	}
	return false
}
