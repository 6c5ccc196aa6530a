package mirror

import (
	"fmt"

	"holdfast.dev/holdfast/internal/eventlog"
)

// Past is what a pool knows of the time before it was opened that its legs do not
// hold: nothing that any promise rests on. Whoever opens the pool keeps it, and
// finds what to keep in Status.
type Past struct {
	// Pool is the UUID of the pool that it is of; that of another is no past.
	Pool string `json:"pool"`
	// Errors are what legs were charged with, by UUID.
	Errors map[string]LegErrors `json:"errors"`
	// Scrub is the last scrub, or the one that was under way.
	Scrub ScrubStatus `json:"scrub"`
}

// LegErrors is what a leg was charged with since its errors were last cleared.
type LegErrors struct {
	// ReadErrors and WriteErrors are how many reads and writes failed, Timeouts how
	// many of them for want of an answer.
	ReadErrors  uint64 `json:"read_errors"`
	WriteErrors uint64 `json:"write_errors"`
	Timeouts    uint64 `json:"timeouts"`
	// ChecksumErrors is how many blocks held something else than was written.
	ChecksumErrors uint64 `json:"checksum_errors"`
}

// Past returns what is to be remembered of what Status tells.
func (s *Status) Past() Past {
	p := Past{Pool: s.Pool, Errors: map[string]LegErrors{}, Scrub: s.Scrub}
	for _, l := range s.Legs {
		if l.LegErrors != (LegErrors{}) {
			p.Errors[l.UUID] = l.LegErrors
		}
	}
	// These are of the moment.
	p.Scrub.Rate, p.Scrub.SecondsLeft = 0, 0
	return p
}

// errors returns what a leg was charged with.
func (l *leg) errors() LegErrors {
	return LegErrors{
		ReadErrors: l.readErrors.Load(), WriteErrors: l.writeErrors.Load(),
		Timeouts: l.timeouts.Load(), ChecksumErrors: l.guardErrors.Load(),
	}
}

// recall sets what a leg was charged with.
func (l *leg) recall(e LegErrors) {
	l.readErrors.Store(e.ReadErrors)
	l.writeErrors.Store(e.WriteErrors)
	l.timeouts.Store(e.Timeouts)
	l.guardErrors.Store(e.ChecksumErrors)
}

// recall takes up the past of the pool, if it is this pool's.
func (m *Mirror) recall(p Past) {
	if p.Pool != m.pool.String() {
		return
	}
	for _, l := range m.legs() {
		l.recall(p.Errors[l.uuid.String()])
	}
	m.scrub.recall(p.Scrub, m.geo.DataSize)
}

// ClearErrors forgets what a leg was charged with, or, without a name, what every
// leg was, and GuardStatus.Undecided.
func (m *Mirror) ClearErrors(name string) error {
	if m.closed.Load() {
		return m.closedErr("clear")
	}
	only := -1
	if name != "" {
		i, _, err := m.find(name)
		if err != nil {
			return m.opError("clear", 0, 0, err)
		}
		only = i
	}
	if only < 0 {
		m.undecided.Store(0)
	}
	r := m.roll()
	for i, l := range m.legs() {
		if !r.present.has(i) || only >= 0 && only != i {
			continue
		}
		e := l.errors()
		l.recall(LegErrors{})
		l.faults.clear()
		m.slog.Info("what the leg was charged with is forgotten, as was asked", eventlog.Key, eventlog.ErrorsZeroed,
			"leg", l.name, "read", e.ReadErrors, "write", e.WriteErrors, "checksum", e.ChecksumErrors, "timeouts", e.Timeouts)
	}
	return nil
}

// clear forgets what a leg was charged with lately.
func (f *faults) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n = 0
}

// checkShare says whether a share is one.
func checkShare(share float64) error {
	if !(share >= 0 && share <= 1) {
		return fmt.Errorf("%w: a share of the time is above 0 and up to 1, not %v", ErrInvalid, share)
	}
	return nil
}
