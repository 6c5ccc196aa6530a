package mirror

import (
	"errors"
	"math/bits"
	"sync/atomic"
	"time"

	"holdfast.dev/holdfast/internal/seam"
)

// scrub is the state of the scrub.
type scrub struct {
	running, stop atomic.Bool
	alarm         *seam.Alarm

	mu seam.Mutex
	// All below is guarded by mu.

	status ScrubStatus // the one under way, or the last
	// since is when it began, or went on, and took what it had taken before.
	since time.Time
	took  float64 // seconds
	speed rolling
}

// The states of a scrub.
const (
	ScrubNone    = "none"
	ScrubRunning = "running"
	// ScrubStopping was told to stop, and ScrubStopped has.
	ScrubStopping = "stopping"
	ScrubStopped  = "stopped"
	// ScrubInterrupted was ended by the end of the program: it goes on.
	ScrubInterrupted = "interrupted"
	ScrubDone        = "done"
	ScrubFailed      = "failed"
)

// ScrubStatus is how far a scrub is, or what the last one found.
type ScrubStatus struct {
	// State is one of those above.
	State     string    `json:"state"`
	CheckOnly bool      `json:"check_only"`
	Share     float64   `json:"share"`
	Started   time.Time `json:"started"`
	Ended     time.Time `json:"ended"`
	// Took is how long it was, or has been, under way.
	Took float64 `json:"took_seconds"`
	// Done and Total are bytes of data.
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
	// Bad is how many blocks a leg had otherwise than written, or could not be
	// read; Healed how many of those were written anew; Lost how many no leg had.
	Bad    int64 `json:"bad"`
	Healed int64 `json:"healed"`
	Lost   int64 `json:"lost"`
	// Rate is in bytes a second, of late, and SecondsLeft what follows from it; 0
	// is not known.
	Rate        int64   `json:"rate"`
	SecondsLeft float64 `json:"seconds_left"`
}

// recall takes up the last scrub of the pool. One that was under way when the
// program ended was interrupted. What makes no sense is begun anew: the past is a
// file that anybody may have changed.
func (s *scrub) recall(st ScrubStatus, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch st.State {
	case ScrubRunning:
		st.State = ScrubInterrupted
	case ScrubStopping:
		st.State = ScrubStopped
	case ScrubStopped, ScrubInterrupted, ScrubDone, ScrubFailed:
	default:
		return
	}
	if st.Total != size || st.Done < 0 || st.Done > size || st.Done%BlockSize != 0 {
		st.Total, st.Done, st.Bad, st.Healed, st.Lost, st.Took = size, 0, 0, 0, 0, 0
	}
	if checkShare(st.Share) != nil {
		st.Share = 0
	}
	st.Rate, st.SecondsLeft = 0, 0
	s.status = st
}

func (s *scrub) begin(st ScrubStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.since, s.took, s.speed = st, seam.Now(), st.Took, rolling{}
}

// stopping notes that it was told to stop.
func (s *scrub) stopping() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status.State == ScrubRunning {
		s.status.State = ScrubStopping
	}
}

// end notes that it ended, and returns what there is to say of it.
func (s *scrub) end(err error) ScrubStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &s.status
	st.Ended = seam.Now()
	st.Took = s.took + st.Ended.Sub(s.since).Seconds()
	st.Rate, st.SecondsLeft = 0, 0
	switch {
	case err == nil:
		st.State = ScrubDone
	case errors.Is(err, errInterrupted):
		st.State = ScrubInterrupted
	case errors.Is(err, ErrStopped):
		st.State = ScrubStopped
	default:
		st.State = ScrubFailed
	}
	return *st
}

// findings are blocks that a scrub found, as ScrubStatus counts them.
type findings struct{ bad, healed, lost int64 }

// findings counts what a piece had.
func (md *mender) findings(look bool) (f findings) {
	for i := range md.m.legs() {
		if !md.in.has(i) {
			continue
		}
		wrong := md.faulty[i] | md.put[i] | md.blocks()&^md.have[i]
		f.bad += int64(bits.OnesCount64(wrong))
		if !look {
			f.healed += int64(bits.OnesCount64(wrong &^ md.bad))
		}
	}
	f.lost += int64(bits.OnesCount64(md.bad))
	return f
}

// advance notes how far it is, and what was found in the last piece: at once, so
// that whoever goes on from there counts nothing twice.
func (s *scrub) advance(done int64, f findings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &s.status
	st.Bad, st.Healed, st.Lost = st.Bad+f.bad, st.Healed+f.healed, st.Lost+f.lost
	st.Done = done
	s.speed.note(done)
	st.Rate = s.speed.rate
	st.SecondsLeft = s.speed.secondsFor(st.Total - done)
}

// Active says whether it is under way.
func (st *ScrubStatus) Active() bool { return st.State == ScrubRunning || st.State == ScrubStopping }

// report returns how far it is.
func (s *scrub) report() ScrubStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.status
	if st.State == "" {
		st.State = ScrubNone
	}
	if st.Active() {
		st.Took = s.took + seam.Now().Sub(s.since).Seconds()
	}
	return st
}
