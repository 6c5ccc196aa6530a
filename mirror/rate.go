package mirror

import (
	"math"
	"sync/atomic"
	"time"

	"holdfast.dev/holdfast/internal/seam"
)

// The rate of what takes long is that of the last rateMarks periods.
const (
	rateMarks  = 16
	markPeriod = time.Second
)

// rolling is how fast something goes on.
type rolling struct {
	marks [rateMarks]mark // the newest first
	rate  int64           // bytes a second; 0 is not known
}

// mark is how far it was at some moment.
type mark struct {
	at   time.Time
	done int64
}

// note takes down how many bytes are done.
func (r *rolling) note(done int64) {
	now := seam.Now()
	if newest := &r.marks[0]; now.Sub(newest.at) >= markPeriod {
		copy(r.marks[1:], r.marks[:])
		*newest = mark{now, done}
	}
	for i := rateMarks - 1; i > 0; i-- {
		if old := r.marks[i]; !old.at.IsZero() {
			if took := now.Sub(old.at).Seconds(); took > 0 {
				r.rate = int64(float64(done-old.done) / took)
			}
			return
		}
	}
}

// secondsFor is how long so many bytes will take; 0 is not known.
func (r *rolling) secondsFor(left int64) float64 {
	if r.rate <= 0 {
		return 0
	}
	return float64(left) / float64(r.rate)
}

// restMost bounds how long a rest is, whatever a piece took: a leg that hung for
// once should not have a scrub stand still for hours.
const restMost = 10 * time.Second

// rest is how long others are to have what is left of the time, of which work that
// took so long has had its share. No share is all of the time.
func rest(share float64, took time.Duration) time.Duration {
	if share <= 0 || share >= 1 || took <= 0 {
		return 0
	}
	return time.Duration(min(float64(took)*(1/share-1), float64(restMost)))
}

// atomicShare is a share that may be changed at any time.
type atomicShare struct{ bits atomic.Uint64 }

func (s *atomicShare) load() float64   { return math.Float64frombits(s.bits.Load()) }
func (s *atomicShare) store(v float64) { s.bits.Store(math.Float64bits(v)) }
