// Package rangelock locks ranges of bytes: shared ranges may overlap each
// other, an exclusive range overlaps nothing.
//
// Requests that overlap are granted in the order they arrived, so neither kind
// starves the other, and what is done under exclusive ranges has one order
// everywhere. Requests that overlap nobody are granted at once. A holder must
// not ask for a second range that overlaps or may wait for its first.
//
// Invariants: (1) two granted ranges overlap only if both are shared; (2) a
// waiting request overlaps, incompatibly, an older entry of the list.
package rangelock

import (
	"holdfast.dev/holdfast/internal/invariants"
	"holdfast.dev/holdfast/internal/seam"
)

// Mode says what a holder of a range lets others do in it.
type Mode bool

const (
	// Shared lets other shared holders in.
	Shared Mode = false
	// Exclusive lets nobody in.
	Exclusive Mode = true
)

// Lock is a set of held and awaited ranges. The zero Lock is not usable: call
// New. It suits some hundred ranges at once, as many as requests in flight:
// each request looks at every other.
type Lock struct {
	mu   seam.Mutex
	gone *seam.Cond
	// live holds the granted and the waiting, oldest first. It is guarded by mu.
	live []*Held
}

// Held is a range that was locked, until Unlock.
type Held struct {
	off, end int64
	mode     Mode
	granted  bool
}

// New returns a Lock with nothing held.
func New() *Lock {
	l := &Lock{}
	l.gone = seam.NewCond(&l.mu)
	return l
}

// Acquire waits until [off, off+n) can be held in the given mode. n must be
// above zero.
func (l *Lock) Acquire(off, n int64, mode Mode) *Held {
	h := &Held{off: off, end: off + n, mode: mode}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live = append(l.live, h)
	for l.blocked(h) {
		l.gone.Wait()
	}
	h.granted = true
	l.check(h)
	return h
}

// TryAcquire holds the range if nobody stands in the way, and returns nil
// otherwise.
func (l *Lock) TryAcquire(off, n int64, mode Mode) *Held {
	h := &Held{off: off, end: off + n, mode: mode}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.blocked(h) {
		return nil
	}
	h.granted = true
	l.live = append(l.live, h)
	l.check(h)
	return h
}

// Release gives the range back.
func (l *Lock) Release(h *Held) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, o := range l.live {
		if o == h {
			l.live = append(l.live[:i], l.live[i+1:]...)
			l.gone.Broadcast()
			return
		}
	}
	invariants.Check(false, "rangelock: [%d,%d) released twice", h.off, h.end)
}

// blocked says whether an older entry stands in h's way. Requires l.mu.
func (l *Lock) blocked(h *Held) bool {
	for _, o := range l.live {
		if o == h {
			return false
		}
		if o.conflicts(h) {
			return true
		}
	}
	return false
}

// check asserts invariant 1 for a range just granted. Requires l.mu.
func (l *Lock) check(h *Held) {
	if !invariants.Enabled {
		return
	}
	for _, o := range l.live {
		invariants.Check(o == h || !o.granted || !o.conflicts(h),
			"rangelock: [%d,%d) granted over [%d,%d)", h.off, h.end, o.off, o.end)
	}
}

func (h *Held) conflicts(o *Held) bool {
	return h.off < o.end && o.off < h.end && (h.mode == Exclusive || o.mode == Exclusive)
}
