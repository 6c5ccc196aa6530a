//go:build explore

package explore

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// scheduleVersion is that of the schedule's form and of what the choices mean.
const scheduleVersion = "hf1"

var (
	// ErrSchedule says that a string is not a schedule that can be replayed here.
	ErrSchedule = errors.New("not a schedule for this")
	// ErrDiverged says that a schedule was recorded with other code: it made other
	// steps when it was replayed.
	ErrDiverged = errors.New("the schedule made other steps than when it was recorded")
)

// Schedule names one execution: a scenario, the mutant that was in force (empty:
// none), the choices that were not made by default, and the fingerprint of the steps
// that were made.
//
// As a string it is hf1:SCENARIO:MUTANT:AT.OPTION-AT.OPTION:FINGERPRINT, with - for
// no mutant.
type Schedule struct {
	Scenario, Mutant string
	deviations       []deviation
	print            uint64
}

func (s Schedule) String() string {
	var parts []string
	for _, d := range s.deviations {
		parts = append(parts, fmt.Sprintf("%d.%d", d.at, d.took))
	}
	mutant := s.Mutant
	if mutant == "" {
		mutant = "-"
	}
	return strings.Join([]string{scheduleVersion, s.Scenario, mutant, strings.Join(parts, "-"), strconv.FormatUint(s.print, 16)}, ":")
}

// Len is how many choices are made otherwise than by default.
func (s Schedule) Len() int { return len(s.deviations) }

// ParseSchedule reads what String wrote. Its errors wrap ErrSchedule.
func ParseSchedule(text string) (Schedule, error) {
	bad := func(format string, args ...any) (Schedule, error) {
		return Schedule{}, fmt.Errorf("%w: %q: %s", ErrSchedule, text, fmt.Sprintf(format, args...))
	}
	parts := strings.Split(text, ":")
	if v, _, _ := strings.Cut(text, ":"); v != scheduleVersion {
		return bad("version %q; this program knows %q", v, scheduleVersion)
	}
	if len(parts) != 5 {
		return bad("%d parts separated by colons; there are 5", len(parts))
	}
	s := Schedule{Scenario: parts[1], Mutant: parts[2]}
	if s.Mutant == "-" {
		s.Mutant = ""
	}
	print, err := strconv.ParseUint(parts[4], 16, 64)
	if err != nil {
		return bad("the fingerprint %q is not a hexadecimal number", parts[4])
	}
	s.print = print
	if parts[3] == "" {
		return s, nil
	}
	for _, d := range strings.Split(parts[3], "-") {
		at, took, _ := strings.Cut(d, ".")
		a, err := strconv.ParseUint(at, 10, 32)
		t, err2 := strconv.ParseUint(took, 10, 8)
		if err != nil || err2 != nil || t == 0 {
			return bad("%q is not a choice, as 12.1 is", d)
		}
		if n := len(s.deviations); n > 0 && uint32(a) <= s.deviations[n-1].at {
			return bad("choice %d comes after choice %d", a, s.deviations[n-1].at)
		}
		s.deviations = append(s.deviations, deviation{uint32(a), uint8(t)})
	}
	return s, nil
}

// Replay runs the scenario as the schedule says, and returns what was found, nil if
// nothing was, and its story. It fails with ErrSchedule if the schedule is one of
// another scenario, and with ErrDiverged, but the finding and the story too, if it
// was recorded with other code.
func Replay(sc *Scenario, s Schedule) (*Finding, *Story, error) {
	if s.Scenario != sc.Name {
		return nil, nil, fmt.Errorf("%w: it is one of scenario %q, not %q", ErrSchedule, s.Scenario, sc.Name)
	}
	sc.prepare()
	t := new(trace)
	p := &plan{deviations: s.deviations}
	x := execute(sc, p, t)
	var err error
	if p.unmet() || x.print != s.print {
		err = fmt.Errorf("%w: fingerprint %x, recorded was %x", ErrDiverged, x.print, s.print)
	}
	return x.found, t.story(sc, x), err
}
