package holdfast

import (
	"fmt"
	"strings"

	"holdfast.dev/holdfast/mirror"
)

// Finding is something about a pool that a person should know.
type Finding struct {
	// Message says what happened, Action what to do.
	Message string `json:"message,omitempty"`
	Action  string `json:"action,omitempty"`
}

// nothingToDo is the action where only time is needed.
const nothingToDo = "none: it needs no help"

// judge says in words what the figures mean. What is worst comes first.
func (s *Status) judge() {
	var all []Finding
	for _, look := range []func() []Finding{
		s.unwritten, s.lost, s.lostJournal, s.failedLegs, s.joiningLegs, s.chargedLegs, s.undecided, s.unequal, s.unreplayed,
	} {
		all = append(all, look()...)
	}
	switch {
	case !s.open():
		s.State = StateStopped
	case s.Cache.Failed > 0:
		s.State = StateFailing
	case s.Degraded():
		s.State = StateDegraded
	case s.Resync.RegionsLeft > 0:
		s.State = StateResyncing
	default:
		s.State = StateSound
	}
	if len(all) > 0 {
		s.Finding, s.More = all[0], all[1:]
	}
}

// open says whether it is the status of an open pool.
func (s *Status) open() bool { return s.Cache != nil }

// Healthy says whether nothing is wrong that a person has to see to, or to wait
// for until it may get worse: every leg holds everything, nothing is known to be
// lost, and what is written reaches the legs.
func (s *Status) Healthy() bool {
	return !s.Degraded() && s.Scrub.Lost == 0 && s.Journal.Lost == 0 && (s.Cache == nil || s.Cache.Failed == 0)
}

// Degraded says whether some leg does not hold everything: it has failed, or is
// joining.
func (s *Status) Degraded() bool {
	for _, l := range s.Legs {
		if l.State != mirror.InSync.String() {
			return true
		}
	}
	return false
}

func (s *Status) unwritten() []Finding {
	if s.Cache == nil || s.Cache.Failed == 0 {
		return nil
	}
	return []Finding{{
		fmt.Sprintf("%d bytes could not be written to the legs; they are kept in memory and tried again", s.Cache.Failed),
		fmt.Sprintf("see what the legs lack, such as space beneath them (holdfast events %s), before you stop the server: what is in memory only would be lost", s.Dir),
	}}
}

func (s *Status) lost() []Finding {
	if s.Scrub.Lost == 0 {
		return nil
	}
	return []Finding{{
		fmt.Sprintf("the last scrub found %d blocks that no leg has as they were written; to read them is an error", s.Scrub.Lost),
		fmt.Sprintf("see which they are with: holdfast events %s; write them anew, from a backup; then: holdfast scrub %s", s.Dir, s.Dir),
	}}
}

func (s *Status) lostJournal() []Finding {
	if s.Journal.Lost == 0 {
		return nil
	}
	return []Finding{{
		fmt.Sprintf("%d blocks or more were in the journal and are on no leg as they were written", s.Journal.Lost),
		fmt.Sprintf("see which cannot be read with: holdfast scrub %s; write them anew, from a backup", s.Dir),
	}}
}

func (s *Status) failedLegs() (all []Finding) {
	for _, l := range s.Legs {
		if l.State != mirror.Failed.String() {
			continue
		}
		all = append(all, Finding{fmt.Sprintf("leg %s has failed, and the others do its work; what it misses is remembered", l.Name), fmt.Sprintf("when it is back: holdfast leg attach %s %s; or put another in its place: holdfast leg replace %s %s NEW",
			s.Dir, l.selector(), s.Dir, l.selector())})
	}
	return all
}

func (s *Status) joiningLegs() (all []Finding) {
	for _, l := range s.Legs {
		if l.State != mirror.Joining.String() {
			continue
		}
		do := nothingToDo
		if !s.open() {
			do = "serve the pool: holdfast serve " + s.Dir
		}
		all = append(all, Finding{fmt.Sprintf("leg %s is joining: %d regions (%d bytes) are still to be copied to it",
			l.Name, l.RegionsLeft, l.RegionsLeft*s.RegionSize), do})
	}
	return all
}

// chargedLegs tells of errors that did not have the leg fail.
func (s *Status) chargedLegs() (all []Finding) {
	for _, l := range s.Legs {
		var kinds []string
		if l.ChecksumErrors > 0 {
			kinds = append(kinds, fmt.Sprintf("held %d blocks otherwise than they were written", l.ChecksumErrors))
		}
		if n := l.ReadErrors + l.WriteErrors - l.Timeouts; n > 0 {
			kinds = append(kinds, fmt.Sprintf("failed to read or write %d times", n))
		}
		if l.Timeouts > 0 {
			kinds = append(kinds, fmt.Sprintf("did not answer in time, %d times", l.Timeouts))
		}
		if len(kinds) == 0 || l.State == mirror.Failed.String() {
			continue
		}
		all = append(all, Finding{
			fmt.Sprintf("leg %s %s; what it should hold came from elsewhere", l.Name, strings.Join(kinds, ", ")),
			fmt.Sprintf("see to the disk, its cable or its network; then: holdfast clear %s %s, and holdfast scrub %s; if it goes on, replace the leg",
				s.Dir, l.selector(), s.Dir),
		})
	}
	return all
}

func (s *Status) undecided() []Finding {
	if s.Guards.Undecided == 0 {
		return nil
	}
	return []Finding{{
		fmt.Sprintf("%d blocks were being written when the pool was cut off, and no leg had one that fits its guard: what one of them had is kept", s.Guards.Undecided),
		fmt.Sprintf("none: nothing that was flushed is among them; to have it forgotten: holdfast clear %s", s.Dir),
	}}
}

func (s *Status) unequal() []Finding {
	left := s.Resync.RegionsLeft
	if left == 0 || s.Degraded() {
		return nil
	}
	if !s.open() {
		return []Finding{{fmt.Sprintf("it was not stopped cleanly; %d regions (%d bytes) will be made equal when it is served", left, left*s.RegionSize), nothingToDo}}
	}
	return []Finding{{fmt.Sprintf("%d regions (%d bytes) are still to be made equal: the pool was not stopped cleanly, or a write failed", left, left*s.RegionSize), nothingToDo}}
}

// unreplayed tells of a stopped pool with something in its journal.
func (s *Status) unreplayed() []Finding {
	if s.open() || s.Journal.Replayed == 0 {
		return nil
	}
	return []Finding{{fmt.Sprintf("it was not stopped cleanly; %d blocks are in the journal, and will be written to their places when it is served", s.Journal.Replayed), nothingToDo}}
}

// selector is how a person names a leg on a command line.
func (l *LegStatus) selector() string {
	if strings.ContainsAny(l.Name, " ()'") {
		return l.UUID
	}
	return l.Name
}
