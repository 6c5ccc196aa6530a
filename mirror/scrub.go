package mirror

import (
	"errors"
	"fmt"
	"time"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/eventlog"
	"holdfast.dev/holdfast/internal/rangelock"
	"holdfast.dev/holdfast/internal/seam"
	"holdfast.dev/holdfast/journal"
)

// ErrScrubbing says that a scrub is under way already.
var ErrScrubbing = errors.New("a scrub is under way: wait for it, or stop it")

// ErrStopped says that what was under way has been stopped.
var ErrStopped = errors.New("stopped before the end")

// errInterrupted stops a scrub because the pool is closed.
var errInterrupted = fmt.Errorf("%w, as the pool is closed: it goes on when that is opened", ErrStopped)

// ScrubOptions says how to scrub.
type ScrubOptions struct {
	// CheckOnly reports what is wrong and leaves it.
	CheckOnly bool
	// Share is which part of the time may be spent on it, above 0 up to 1; the
	// rest is left to others. 0 is all of it.
	Share float64
}

// Scrub reads all data and guards of every leg, and heals what does not fit. It
// returns when it is done; one can be under way at a time.
func (m *Mirror) Scrub(o ScrubOptions) error {
	run, err := m.BeginScrub(o)
	if err != nil {
		return err
	}
	return run()
}

// BeginScrub is Scrub in two steps: if it succeeds a scrub is under way, which
// run does.
func (m *Mirror) BeginScrub(o ScrubOptions) (run func() error, err error) {
	if err := checkShare(o.Share); err != nil {
		return nil, m.opError("scrub", 0, 0, err)
	}
	return m.beginScrub(ScrubStatus{CheckOnly: o.CheckOnly, Share: o.Share, Started: seam.Now(), Total: m.geo.DataSize})
}

// ResumeScrub goes on with a scrub that was interrupted before the pool was opened
// (Options.Past), like BeginScrub; run is nil if none was.
func (m *Mirror) ResumeScrub() (run func() error, err error) {
	st := m.scrub.report()
	if st.State != ScrubInterrupted {
		return nil, nil
	}
	return m.beginScrub(st)
}

func (m *Mirror) beginScrub(st ScrubStatus) (run func() error, err error) {
	s := &m.scrub
	if !s.running.CompareAndSwap(false, true) {
		return nil, ErrScrubbing
	}
	s.stop.Store(false)
	st.State, st.Ended = ScrubRunning, time.Time{}
	s.begin(st)
	what := "scrub begins"
	if st.Done > 0 {
		what = "scrub goes on"
	}
	m.slog.Info(what, eventlog.Key, eventlog.ScrubBegan, "check_only", st.CheckOnly, "share", st.Share, "offset", st.Done)
	return func() error {
		defer s.running.Store(false)
		err := m.scrubAll(st)
		m.tellScrub(s.end(err), err)
		return m.opError("scrub", 0, 0, err)
	}, nil
}

// tellScrub tells of the end of a scrub.
func (m *Mirror) tellScrub(st ScrubStatus, err error) {
	args := []any{eventlog.Key, "", "bad", st.Bad, "healed", st.Healed, "lost", st.Lost, "checked", st.Done, "of", st.Total, "took_seconds", int64(st.Took)}
	switch {
	case st.State == ScrubFailed:
		args[1] = eventlog.ScrubFailed
		m.slog.Error("scrub failed", append(args, "error", err)...)
	case st.State == ScrubStopped:
		args[1] = eventlog.ScrubStopped
		m.slog.Info("scrub was stopped, as was asked", args...)
	case st.State == ScrubInterrupted:
		args[1] = eventlog.ScrubInterrupted
		m.slog.Info("scrub is interrupted: it goes on when the pool is opened", args...)
	default:
		args[1] = eventlog.ScrubEnded
		m.slog.Info("scrub is done", args...)
	}
}

// StopScrub has a scrub that is under way end.
func (m *Mirror) StopScrub() {
	m.scrub.stop.Store(true)
	m.scrub.stopping()
	m.scrub.alarm.Ring()
}

func (m *Mirror) scrubAll(st ScrubStatus) error {
	md := m.menders.get()
	defer m.menders.put(md)
	for off := st.Done; off < m.geo.DataSize; {
		switch {
		case m.scrub.stop.Load():
			return ErrStopped
		case m.stopping.Load():
			return errInterrupted
		}
		began := seam.Now()
		n, err := m.scrubPiece(md, off, st.CheckOnly)
		if err != nil {
			return err
		}
		off += n
		if wait := rest(st.Share, seam.Now().Sub(began)); wait > 0 {
			m.scrub.alarm.Sleep(wait)
		}
	}
	return nil
}

// scrubPiece scrubs a piece at off and returns how long it was.
func (m *Mirror) scrubPiece(md *mender, off int64, look bool) (int64, error) {
	n := md.pieceAt(off, m.geo.DataSize-off)
	h := m.ranges.Acquire(off, n, rangelock.Exclusive)
	defer m.ranges.Release(h)
	if m.closed.Load() {
		return 0, errInterrupted
	}
	free, held := m.ring.lead(off, n)
	if held != nil {
		found, err := m.scrubHeld(&held[0], look)
		if err == nil {
			m.scrub.advance(off+BlockSize, found)
		}
		return BlockSize, err
	}
	n = free
	if hole := m.holeAt(off, n); hole {
		m.scrub.advance(off+n, findings{})
		return n, nil
	}
	how := mendFlags(0)
	if look {
		how = mendLook
	}
	if err := md.mend(off, n, how); err != nil {
		return 0, err
	}
	m.scrub.advance(off+n, md.findings(look))
	return n, nil
}

// scrubHeld reads what every leg has of a block in its journal. What is at home is
// older, and will be overwritten.
func (m *Mirror) scrubHeld(v *journal.Version, look bool) (findings, error) {
	b := m.oneBlock.get()
	defer m.oneBlock.put(b)
	scrub := ringScrub{look: look}
	err := m.readVersion(v, b[:], &scrub)
	found := findings{bad: int64(scrub.bad)}
	switch {
	case err == nil && !look:
		found.healed = found.bad
	case errors.Is(err, errMoved):
		return findings{}, nil
	case errors.Is(err, device.ErrGuard):
		found.lost, err = 1, nil
	}
	return found, err
}

// holeAt says whether every leg in sync has a hole there, of which nothing is
// known: what was never written, or given back. A region that awaits resync is
// none.
func (m *Mirror) holeAt(off, n int64) bool {
	if _, waits := m.regions.route(off, n); waits {
		return false
	}
	for i, l := range m.legs() {
		if !m.roll().targets().has(i) {
			continue
		}
		hole := true
		err := device.Extents(l.dev, m.geo.DataOff()+off, n, func(e device.Extent) bool {
			hole = hole && e.Hole
			return hole
		})
		if err != nil || !hole {
			return false
		}
	}
	if !m.guards.on() {
		return true
	}
	known, err := m.guards.knows(off, n)
	return err == nil && !known
}
