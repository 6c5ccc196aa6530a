package mirror

import (
	"errors"
	"math/bits"
	"sync/atomic"
	"time"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/internal/rangelock"
	"holdfast.dev/holdfast/internal/seam"
)

// ErrScrubbing says that a scrub is under way already.
var ErrScrubbing = errors.New("a scrub is under way: wait for it, or stop it")

// ErrStopped says that what was under way has been stopped.
var ErrStopped = errors.New("stopped before the end")

// ScrubOptions says how to scrub.
type ScrubOptions struct {
	// CheckOnly reports what is wrong and leaves it.
	CheckOnly bool
	// Share is which part of the time may be spent on it, above 0 up to 1; the
	// rest is left to others. 0 is all of it.
	Share float64
}

// scrub is the state of the scrub.
type scrub struct {
	running, stop atomic.Bool
	alarm         *seam.Alarm

	mu seam.Mutex
	// Guarded by mu: the one under way, or the last.
	status ScrubStatus
}

// ScrubStatus is how far a scrub is, or what the last one found.
type ScrubStatus struct {
	// State is none, running, done, stopped or failed.
	State     string    `json:"state"`
	CheckOnly bool      `json:"check_only"`
	Started   time.Time `json:"started"`
	Ended     time.Time `json:"ended"`
	// Done and Total are bytes of data.
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
	// Bad is how many blocks a leg had otherwise than written, or could not be
	// read; Healed how many of those were written anew; Lost how many no leg had.
	Bad    int64 `json:"bad"`
	Healed int64 `json:"healed"`
	Lost   int64 `json:"lost"`
	// Rate is in bytes a second, over the last rateWindow; 0 is not known.
	Rate int64 `json:"rate"`

	marks [rateMarks]mark
}

// mark is how far it was at some moment.
type mark struct {
	at   time.Time
	done int64
}

// The rate is that of the last rateMarks seconds.
const (
	rateMarks  = 16
	markPeriod = time.Second
)

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
	s := &m.scrub
	if !s.running.CompareAndSwap(false, true) {
		return nil, ErrScrubbing
	}
	s.stop.Store(false)
	s.begin(ScrubStatus{State: "running", CheckOnly: o.CheckOnly, Started: seam.Now(), Total: m.geo.dataSize})
	return func() error {
		defer s.running.Store(false)
		err := m.scrubAll(o)
		s.end(err)
		return m.opError("scrub", 0, 0, err)
	}, nil
}

// StopScrub has a scrub that is under way end.
func (m *Mirror) StopScrub() {
	m.scrub.stop.Store(true)
	m.scrub.alarm.Ring()
}

func (m *Mirror) scrubAll(o ScrubOptions) error {
	md := m.menders.get(m)
	defer m.menders.put(md)
	for off := int64(0); off < m.geo.dataSize; {
		if m.stopping.Load() || m.scrub.stop.Load() {
			return ErrStopped
		}
		began := seam.Now()
		n, err := m.scrubPiece(md, off, o.CheckOnly)
		if err != nil {
			return err
		}
		off += n
		m.scrub.advance(off)
		if o.Share > 0 && o.Share < 1 {
			if took := seam.Now().Sub(began); took > 0 {
				m.scrub.alarm.Sleep(time.Duration(float64(took) * (1/o.Share - 1)))
			}
		}
	}
	return nil
}

// scrubPiece scrubs a piece at off and returns how long it was.
func (m *Mirror) scrubPiece(md *mender, off int64, look bool) (int64, error) {
	n := md.pieceAt(off, m.geo.dataSize-off)
	h := m.ranges.Acquire(off, n, rangelock.Exclusive)
	defer m.ranges.Release(h)
	if m.closed.Load() {
		return 0, device.ErrClosed
	}
	if hole := m.holeAt(off, n); hole {
		return n, nil
	}
	how := mendFlags(0)
	if look {
		how = mendLook
	}
	if err := md.mend(off, n, how); err != nil {
		return 0, err
	}
	m.scrub.found(md, look)
	return n, nil
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
		err := device.Extents(l.dev, m.geo.dataOff()+off, n, func(e device.Extent) bool {
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
	b, err := m.guards.hold(off)
	if err != nil {
		return false
	}
	defer m.guards.drop(b)
	var tuples [mendBlocks]guard.Tuple
	if m.guards.copyOut(tuples[:n/BlockSize], b, off) {
		return false
	}
	for _, t := range tuples {
		if t.Known() {
			return false
		}
	}
	return true
}

func (s *scrub) begin(st ScrubStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = st
}

func (s *scrub) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Ended = seam.Now()
	switch {
	case err == nil:
		s.status.State = "done"
	case errors.Is(err, ErrStopped):
		s.status.State = "stopped"
	default:
		s.status.State = "failed"
	}
}

// found counts what a piece had.
func (s *scrub) found(md *mender, look bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range md.m.legs() {
		if !md.in.has(i) {
			continue
		}
		wrong := md.faulty[i] | md.put[i] | md.blocks()&^md.have[i]
		s.status.Bad += int64(bits.OnesCount64(wrong))
		if !look {
			s.status.Healed += int64(bits.OnesCount64(wrong &^ md.bad))
		}
	}
	s.status.Lost += int64(bits.OnesCount64(md.bad))
}

// advance notes how far it is.
func (s *scrub) advance(done int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &s.status
	st.Done = done
	now := seam.Now()
	if newest := &st.marks[0]; now.Sub(newest.at) >= markPeriod {
		copy(st.marks[1:], st.marks[:])
		*newest = mark{now, done}
	}
	for i := rateMarks - 1; i > 0; i-- {
		if old := st.marks[i]; !old.at.IsZero() {
			if took := now.Sub(old.at).Seconds(); took > 0 {
				st.Rate = int64(float64(done-old.done) / took)
			}
			return
		}
	}
}

// report returns how far it is.
func (s *scrub) report() ScrubStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.status
	if st.State == "" {
		st.State = "none"
	}
	return st
}
