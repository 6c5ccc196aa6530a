package mirror

import (
	"fmt"
	"time"

	"holdfast.dev/holdfast/internal/mutant"
	"holdfast.dev/holdfast/internal/seam"
)

// Policy says when a region's bit may be cleared while the pool is open.
type Policy string

const (
	// Verified clears a bit after the owner has written out everything that is
	// dirty in the region and says that nothing there can change unseen.
	Verified Policy = "verified"
	// Idle clears the bit of a region that was not written for one period. It
	// does not ask the owner: a page may still be dirty, and the legs differ.
	// It is there to be measured and explored.
	Idle Policy = "idle"
	// Never clears bits only when the pool is closed.
	Never Policy = "never"
)

// DefaultPeriod is how often the helper looks for regions to clear: as often
// as a kernel's flusher wakes, so that most of what it asks the owner to write
// out is old enough to be written anyway.
const DefaultPeriod = 5 * time.Second

// Owner is who keeps pages above the mirror.
//
// Both methods are called by the helper with no lock of the mirror held.
type Owner interface {
	// SyncRange makes everything that is dirty in the range of the pool reach
	// the mirror. It need not flush.
	SyncRange(off, n int64) error
	// Quiet says that no page of the range is dirty, under write-out, mapped
	// for writing or pinned.
	Quiet(off, n int64) bool
}

// cycle is what the helper keeps between its rounds.
type cycle struct {
	mu seam.Mutex
	// candidates are the regions marked at the end of an idle round. Guarded
	// by mu.
	candidates []run
}

// SetOwner says who is to be asked. Call it before Start.
func (m *Mirror) SetOwner(o Owner) { m.owner = o }

// Cycle does one round of the helper: it clears the bits of regions that the
// policy lets it clear. While a leg is failed, none is cleared: the bits are
// what remembers what that leg misses.
func (m *Mirror) Cycle() error {
	c := &m.cycle
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.closed.Load() || m.policy == Never || !m.full() && !mutant.On(mutant.ClearedWhileAway) {
		return nil
	}
	if m.policy == Idle || mutant.On(mutant.RegionClearedIdle) {
		err := m.settleRegions(c.candidates)
		c.candidates = m.regions.mark()
		return err
	}
	marked := m.regions.mark()
	err := m.askOwner(marked)
	if e := m.settleRegions(marked); e != nil {
		return e
	}
	return err
}

// askOwner has the owner write out what is dirty in the candidates, and
// demotes those in which something may still change. It returns the first error.
//
// A page may have been changed while it was written, and then the legs differ
// there; but then it is dirty again, or its changer still has it mapped or
// pinned. Quiet is asked after the write-out and before the region is settled.
// What becomes dirty after the answer does no harm: it reaches a leg only
// through begin, which takes the region out of the candidates.
func (m *Mirror) askOwner(candidates []run) error {
	if m.owner == nil {
		return nil
	}
	var first error
	for _, c := range candidates {
		off, n := m.byteRange(c)
		if err := m.owner.SyncRange(off, n); err != nil {
			m.regions.demote(c)
			if first == nil {
				first = fmt.Errorf("write-out of %d bytes at %d: %w", n, off, err)
			}
			continue
		}
		for i := c.first; i <= c.last; i++ {
			one := run{i, i}
			if off, n := m.byteRange(one); !m.owner.Quiet(off, n) {
				m.regions.demote(one)
			}
		}
	}
	return first
}

// settleRegions flushes the legs and clears the bits of those candidates that
// nobody has written since they were marked.
func (m *Mirror) settleRegions(candidates []run) error {
	if len(candidates) == 0 {
		return nil
	}
	if mutant.On(mutant.RegionClearedUnflushed) {
		m.regions.flushGood.Store(m.regions.flushBegun.Add(1)) // as if
	} else if err := m.flushLegs(); err != nil {
		for _, c := range candidates {
			m.regions.demote(c)
		}
		return err
	}
	full := m.full
	if mutant.On(mutant.ClearedWhileAway) {
		full = func() bool { return true }
	}
	m.regions.settle(candidates, full)
	return m.syncLog()
}

// byteRange returns the part of the data area that regions stand for.
func (m *Mirror) byteRange(c run) (off, n int64) {
	off = int64(c.first) << m.regions.shift
	return off, min(int64(c.last+1)<<m.regions.shift, m.geo.DataSize) - off
}

// helper is the background task that runs the cycle.
func (m *Mirror) helper() {
	for {
		m.bell.Sleep(m.period)
		if m.stopping.Load() {
			return
		}
		if err := m.Cycle(); err != nil {
			m.slog.Warn("region log: the cycle could not clear everything", "error", err)
		}
	}
}
