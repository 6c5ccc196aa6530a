package mirror

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"holdfast.dev/holdfast/internal/mutant"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// found is a leg that was given, and what its superblocks say.
type found struct {
	Leg
	copies ondisk.Copies
	sb     *ondisk.Superblock // the better copy
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
		f := &found{Leg: l, copies: ondisk.ReadCopies(l.Dev)}
		f.sb = f.copies.Best()
		if f.sb == nil {
			bad = append(bad, stranger{l, fmt.Errorf("%s: %w", l.Name, f.copies.Err())})
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
			known = known || f.isNamed(name) || slices.ContainsFunc(f.sb.Members, func(v ondisk.Member) bool {
				return v.State != Removed && isNamed(name, v.Leg, "")
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
	slices.SortStableFunc(byAge, func(a, b *found) int { return cmp.Compare(b.sb.Generation, a.sb.Generation) })
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
	a := &assembly{newest: top, byIndex: make([]*found, len(top.sb.Members))}
	for _, f := range all {
		if mutant.On(mutant.StaleLegAccepted) && top.sb.Lists(f.sb) {
			top.sb.Members[f.sb.Index] = f.sb.Members[f.sb.Index]
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
		if b.sb.Pool != a.sb.Pool {
			return fmt.Errorf("%w: %s is of pool %s and %s of pool %s: give the legs of one pool",
				ErrForeign, a.Name, a.sb.Pool, b.Name, b.sb.Pool)
		}
		if b.sb.Geometry != a.sb.Geometry {
			return fmt.Errorf("%w: %s and %s disagree about sizes and places (data %d and %d bytes, regions %d and %d)",
				ErrCorrupt, a.Name, b.Name, a.sb.Geometry.DataSize, b.sb.Geometry.DataSize,
				a.sb.Geometry.RegionSize, b.sb.Geometry.RegionSize)
		}
		for _, o := range all[:i+1] {
			if o.sb.Leg == b.sb.Leg {
				return fmt.Errorf("%w: %s and %s are both leg %d (%s): give each leg once",
					ErrDuplicate, o.Name, b.Name, b.sb.Index, b.sb.Leg)
			}
		}
	}
	return nil
}

// place checks a leg against the newest superblock and puts it in its place.
func (a *assembly) place(f *found, without []string) error {
	top, sb := a.newest.sb, f.sb
	if !top.Lists(sb) {
		a.strangers = append(a.strangers, stranger{f.Leg, fmt.Errorf("%w: %s (%s) is no leg of pool %s as %s knows it: it was replaced or removed, leave it out",
			ErrForeign, f.Name, sb.Leg, top.Pool, a.newest.Name)})
		return nil
	}
	a.byIndex[sb.Index] = f
	named := slices.ContainsFunc(without, f.isNamed)
	if named {
		a.deny[sb.Index] = sb.Generation + 1
	}
	switch top.Members[sb.Index].State {
	case Failed:
		if f.wentOn(top) && !named {
			return &ChoiceError{fmt.Errorf("%w: %s and %s each went on without the other, and each may hold what the other lacks: choose the one to give up",
				ErrDiverged, a.newest.Name, f.Name), []string{sb.Leg.String()}}
		}
		return nil
	case Joining:
		if named || sb.Generation+1 < top.Generation || sb.Generation > top.Generation || f.tooSmall() != nil {
			a.gone |= 1 << sb.Index
			a.deny[sb.Index] = sb.Generation + 1
		}
		return nil
	}
	switch {
	case named:
		a.gone |= 1 << sb.Index
		return nil
	case sb.Generation+1 < top.Generation && !mutant.On(mutant.StaleLegAccepted):
		return &ChoiceError{fmt.Errorf("%w: %s is at generation %d and %s at %d: it missed writes, so its data must not be used; give the copy of leg %d (%s) that is up to date",
			ErrStale, f.Name, sb.Generation, a.newest.Name, top.Generation, sb.Index, sb.Leg), []string{sb.Leg.String()}}
	case sb.Generation >= top.Generation && !sb.SameView(top):
		// A change that was interrupted on the one, and another that the other
		// made without it.
		a.apart = true
		return fmt.Errorf("%w: %s and %s disagree at generation %d: one of them was changed on its own",
			ErrCorrupt, a.newest.Name, f.Name, top.Generation)
	}
	return f.tooSmall()
}

// tooSmall says whether a leg is smaller than it was made.
func (f *found) tooSmall() error {
	if f.Dev.Size() >= f.sb.LegSize {
		return nil
	}
	return fmt.Errorf("%w: %s is %d bytes and was made with %d: was it cut short?",
		ErrTooSmall, f.Name, f.Dev.Size(), f.sb.LegSize)
}

// callRoll finds the legs that are not there, and says whether the others may
// go on without them.
func (a *assembly) callRoll(without []string) error {
	top := a.newest.sb
	missing, named := legMask(0), a.gone
	for i, v := range top.Members {
		if a.byIndex[i] != nil || v.State != InSync && v.State != Joining {
			continue
		}
		a.gone |= 1 << i
		switch {
		case slices.ContainsFunc(without, func(s string) bool { return isNamed(s, v.Leg, "") }):
			named |= 1 << i
		case v.State == InSync:
			missing |= 1 << i
		}
	}
	a.lacking = missing != 0
	needed := rollCall(top.Members, named).in
	a.roll = rollCall(top.Members, a.gone)
	if missing != 0 && (top.State != ondisk.PoolClean || !quorum(needed&^missing, needed)) {
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
		if f != nil && f.sb.UnknownROCompat() != 0 {
			return fmt.Errorf("%w: %s has features %#x that this program may read but not write: use a newer program",
				ErrUnsupported, f.Name, f.sb.UnknownROCompat())
		}
	}
	return nil
}

// behind says whether some leg in sync has superblocks to be brought up to
// those of the newest.
func (a *assembly) behind() bool {
	for i, f := range a.byIndex {
		if a.roll.targets().has(i) && (f.sb.Generation != a.newest.sb.Generation || !f.copies.Settled()) {
			return true
		}
	}
	return false
}
