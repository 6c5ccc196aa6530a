package mirror

import (
	"errors"
	"math/bits"
	"sync/atomic"
	"time"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/eventlog"
	"holdfast.dev/holdfast/internal/seam"
)

const (
	// maxFaults within faultWindow fail a leg: more than a disk with a few bad
	// blocks shows, which a scrub would heal, and few enough that one that
	// spoils what it holds is not trusted for long.
	maxFaults   = 64
	faultWindow = 10 * time.Minute
)

// faults counts what a leg was charged with lately.
type faults struct {
	mu seam.Mutex
	// Guarded by mu: when the count began, and how many.
	since time.Time
	n     int
	// forgive has none ever be too many, for tests.
	forgive bool
}

// add counts n faults and says whether that is too many.
func (f *faults) add(n int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := seam.Now(); now.Sub(f.since) > faultWindow {
		f.since, f.n = now, 0
	}
	f.n += n
	return f.n > maxFaults && !f.forgive
}

// charge counts an error of a leg under its kind, and tells of it. The offset is
// one on the leg; a length of 0 is none.
func (m *Mirror) charge(l *leg, kind *atomic.Uint64, op string, off, n int64, err error) {
	kind.Add(1)
	event, what := eventlog.LegError, "leg could not do what it was asked"
	if errors.Is(err, device.ErrTimeout) {
		l.timeouts.Add(1)
		event, what = eventlog.LegTimeout, "leg did not answer in time"
	}
	args := []any{eventlog.Key, event, "leg", l.name, "op", op}
	if n > 0 {
		args = append(args, "leg_offset", off, "length", n)
	}
	m.slog.Warn(what, append(args, "error", err)...)
}

// chargeLegs tells which leg was wrong about what, and counts what no leg knew.
func (md *mender) chargeLegs(how mendFlags) {
	m := md.m
	md.each(md.undecided, func(off, n int64) {
		m.undecided.Add(uint64(n / BlockSize))
		m.slog.Warn("blocks were in flight when the pool stopped, and no leg has one that fits its guard: what the source has is kept",
			eventlog.Key, eventlog.BlockUndecided, "leg", m.leg(md.source).name, "offset", off, "length", n)
	})
	for i, l := range m.legs() {
		if !md.in.has(i) {
			continue
		}
		wrong, unread := md.faulty[i], md.blocks()&^md.have[i]
		l.guardErrors.Add(uint64(bits.OnesCount64(wrong)))
		md.tellLeg(l, eventlog.BlockHealed, "checksum", "leg holds something else than was written to it: healed from another", wrong&^md.bad)
		md.tellLeg(l, eventlog.BlockHealed, "read", "leg cannot be read there: it is written from another", unread&^md.bad)
		if !md.crash && how&mendAll == 0 {
			md.tellLeg(l, eventlog.BlockHealed, "difference", "legs differ where nothing was written since the pool was made, or nothing says which is right: the first counts",
				md.put[i]&^(wrong|unread|md.bad))
		}
		if n := bits.OnesCount64(wrong | unread); n > 0 && l.faults.add(n) {
			m.giveUpOn(i)
		}
	}
	md.each(md.bad, func(off, n int64) {
		m.slog.Error("no leg has what was written there: it is lost until it is written anew",
			eventlog.Key, eventlog.BlockLost, "offset", off, "length", n, "error", md.lost)
	})
}

// tellBad tells what chargeLegs would, when nothing is to be changed.
func (md *mender) tellBad() {
	for i, l := range md.m.legs() {
		if md.in.has(i) {
			md.tellLeg(l, eventlog.BlockBad, "checksum", "leg holds something else than was written to it: left as it is", md.faulty[i])
			md.tellLeg(l, eventlog.BlockBad, "read", "leg cannot be read there: left as it is", md.blocks()&^md.have[i])
			if !md.crash {
				md.tellLeg(l, eventlog.BlockBad, "difference", "legs differ there: left as they are", md.put[i]&md.have[i]&^(md.faulty[i]|md.bad))
			}
		}
	}
}

// tellLeg tells of some blocks of a leg.
func (md *mender) tellLeg(l *leg, event, kind, what string, blocks uint64) {
	md.each(blocks, func(off, n int64) {
		md.m.slog.Warn(what, eventlog.Key, event, "leg", l.name, "kind", kind, "offset", off, "length", n)
	})
}

// each calls f for each run of blocks of the piece in a mask.
func (md *mender) each(blocks uint64, f func(off, n int64)) {
	for left := blocks & md.blocks(); left != 0; {
		from := bits.TrailingZeros64(left)
		count := bits.TrailingZeros64(^(left >> from))
		f(md.off+int64(from)*BlockSize, int64(count)*BlockSize)
		left &^= (1<<count - 1) << from
	}
}

// giveUpOn fails a leg that was charged too often, unless no other is in sync: as
// if it had missed a write. If that cannot be written down the next operation
// tries again.
func (m *Mirror) giveUpOn(i int) { _ = m.settle(^legMask(1<<i), errFaults) }
