package mirror

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"holdfast.dev/holdfast/internal/eventlog"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// ChoiceError is a refusal that a person may override by naming legs: in
// Options.Without to open the pool without them, or to Attach by force. Error
// says what is at stake.
type ChoiceError struct {
	err error
	// Legs are the UUIDs to be named.
	Legs []string
}

func (e *ChoiceError) Error() string { return e.err.Error() }

// Unwrap returns what was found.
func (e *ChoiceError) Unwrap() error { return e.err }

// isNamed says whether a person who writes s means the leg: by its name as it
// was given, or its UUID.
func isNamed(s string, leg uuid.UUID, name string) bool {
	return strings.EqualFold(s, leg.String()) || s == name && name != ""
}

func (f *found) isNamed(s string) bool { return isNamed(s, f.sb.Leg, f.Name) }

// wentOn says whether a leg that top lists as failed was used after that, in a
// pool that had failed the legs of top, and may so hold what they lack.
//
// The first change that such a pool can make without them is at the earliest the
// one numbered like their failing it, and lists one of them as not in sync. A
// leg that was merely ahead by an interrupted change still lists all.
func (f *found) wentOn(top *ondisk.Superblock) bool {
	since := top.Members[f.sb.Index].Since
	if f.sb.Used != since {
		return f.sb.Used > since
	}
	for i, v := range top.Members {
		if v.State == InSync && (i >= len(f.sb.Members) || f.sb.Members[i].Leg != v.Leg || f.sb.Members[i].State != InSync) {
			return true
		}
	}
	return false
}

// missingError says which legs are needed, and what it would mean to do without.
func (a *assembly) missingError(missing legMask) error {
	top := a.newest.sb
	var names, uuids []string
	for i, v := range top.Members {
		if missing.has(i) {
			names = append(names, fmt.Sprintf("leg %d (%s)", i, v.Leg))
			uuids = append(uuids, v.Leg.String())
		}
	}
	why := "the pool was not closed cleanly, so what is missing may hold later writes"
	if top.State == ondisk.PoolClean {
		why = "if it was used since without those given, it holds later writes"
	}
	return &ChoiceError{fmt.Errorf("%w: %s of pool %s was not given, and was in sync with %s: give it too; %s",
		ErrMissing, strings.Join(names, ", "), top.Pool, a.newest.Name, why), uuids}
}

// giveUp is the part of opening's first change that says which legs are not
// used. Requires members.mu.
func (m *Mirror) giveUp(a *assembly) {
	view := m.members.view
	for i := range view {
		switch {
		case a.gone.has(i) && view[i].State != Failed:
			m.mark(i, Failed)
		case a.promote && view[i].State == Joining:
			m.mark(i, InSync)
		}
		if view[i].State == Failed {
			view[i].Since = max(view[i].Since, a.deny[i])
		}
	}
	m.members.absent = 0
}

// setAsideUnflushed fails the legs, in opening's first change, that cannot make
// durable what they hold: a superblock that only seems to be there must not be
// the better copy when the other is written.
func (m *Mirror) setAsideUnflushed(a *assembly) error {
	targets := m.roll().targets()
	ok, err := m.onLegs(targets, opFlush, nil, 0, 0)
	missed := targets &^ ok
	if missed == 0 {
		return nil
	}
	if m.inSync()&ok == 0 {
		return err
	}
	ms := &m.members
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if err := m.mayFail(missed, err); err != nil {
		return err
	}
	m.slog.Error("legs fail: they are left alone, and what they miss is remembered",
		eventlog.Key, eventlog.LegFailed, "legs", missed.len(), "error", err)
	a.gone |= missed
	ms.absent |= missed
	ms.word.Store(rollCall(ms.view, ms.absent).word())
	return nil
}

// mayBeClosed notes which legs may hold that the pool was closed, and with whom.
func (a *assembly) mayBeClosed(without []string) (closed [MaxLegs]legMask) {
	for i, f := range a.byIndex {
		if f == nil || !a.roll.in.has(i) {
			continue
		}
		for k, v := range f.sb.Members {
			if v.State == InSync && !slices.ContainsFunc(without, func(s string) bool { return isNamed(s, v.Leg, "") }) {
				closed[i] |= 1 << k
			}
		}
	}
	return closed
}
