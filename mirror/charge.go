package mirror

import (
	"math/bits"
	"time"

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

// chargeLegs tells which leg was wrong about what, and counts what no leg knew.
func (md *mender) chargeLegs() {
	m := md.m
	if md.undecided != 0 {
		n := bits.OnesCount64(md.undecided)
		m.undecided.Add(uint64(n))
		m.slog.Warn("blocks were in flight when the pool stopped, and no leg has one that fits its guard: what the source has is kept",
			"leg", m.leg(md.source).name, "offset", md.off+int64(bits.TrailingZeros64(md.undecided))*BlockSize, "blocks", n)
	}
	for i, l := range m.legs() {
		if !md.in.has(i) {
			continue
		}
		if unread := bits.OnesCount64(md.blocks() &^ md.have[i]); unread > 0 && l.faults.add(unread) {
			m.giveUpOn(i)
		}
		blocks := bits.OnesCount64(md.faulty[i])
		if blocks == 0 {
			continue
		}
		l.guardErrors.Add(uint64(blocks))
		at := md.off + int64(bits.TrailingZeros64(md.faulty[i]))*BlockSize
		if lost := bits.OnesCount64(md.faulty[i] & md.bad); lost > 0 {
			m.slog.Error("leg holds something else than was written to it, and no other leg has it", "leg", l.name, "offset", at, "blocks", blocks, "lost", lost)
		} else {
			m.slog.Warn("leg holds something else than was written to it: healed from another", "leg", l.name, "offset", at, "blocks", blocks)
		}
		if l.faults.add(blocks) {
			m.giveUpOn(i)
		}
	}
}

// giveUpOn fails a leg that was charged too often, unless no other is in sync: as
// if it had missed a write. If that cannot be written down the next operation
// tries again.
func (m *Mirror) giveUpOn(i int) { _ = m.settle(^legMask(1<<i), errFaults) }
