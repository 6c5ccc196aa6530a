//go:build explore

package scenario

import (
	"fmt"
	"math"
)

// model knows what was written to each sector, when each write began and was
// acknowledged, and what syncs have covered. Its time is a count of what happened.
type model struct {
	// touch tells the explorer that the order of what happens here counts.
	touch   func()
	clock   int
	sectors map[int64]*history
}

type history struct {
	writes []*written
	// touched says that any write ever began.
	touched bool
}

// written is a write of one version to one sector.
type written struct {
	version byte
	// begun and acked are when it was; acked is never until it is. durable says that
	// a sync which began after that has returned.
	begun, acked int
	durable      bool
}

const never = math.MaxInt

func newModel(touch func()) *model { return &model{touch: touch, sectors: map[int64]*history{}} }

func (m *model) tick() int {
	m.touch()
	m.clock++
	return m.clock
}

func (m *model) at(sector int64) *history {
	h := m.sectors[sector]
	if h == nil {
		// Zeros, since before anything happened.
		h = &history{writes: []*written{{durable: true}}}
		m.sectors[sector] = h
	}
	return h
}

// begin notes that a write of a version to count sectors begins; ack that it was
// acknowledged. A write that failed is one that may have happened: it is not acked.
func (m *model) begin(sector, count int64, version byte) (ack func()) {
	now := m.tick()
	var all []*written
	for s := sector; s < sector+count; s++ {
		w := &written{version: version, begun: now, acked: never}
		h := m.at(s)
		h.writes, h.touched = append(h.writes, w), true
		all = append(all, w)
	}
	return func() {
		now := m.tick()
		for _, w := range all {
			w.acked = now
		}
	}
}

// touched counts the runs of so many sectors in which any write ever began.
func (m *model) touched(run int64) int {
	runs := map[int64]bool{}
	for s, h := range m.sectors {
		if h.touched {
			runs[s/run] = true
		}
	}
	return len(runs)
}

// beginSync notes that a sync of some sectors begins; done, that it has returned nil.
func (m *model) beginSync(sector, count int64) (done func()) {
	now := m.tick()
	return func() {
		for s := sector; s < sector+count; s++ {
			for _, w := range m.at(s).writes {
				w.durable = w.durable || w.acked < now
			}
		}
	}
}

// mayRead says whether a read that begins now may find the version: one that no other
// has overwritten that was begun after it was acknowledged, and acknowledged by now.
func (m *model) mayRead(sector int64, version byte, began int) error {
	return m.allowed(sector, version, "a read", func(w *written) bool { return w.acked < began })
}

// survived settles what a sector has after a crash: it may be any version that no other
// has overwritten that is durable. From then on it is the only one.
func (m *model) survived(sector int64, version byte) error {
	if err := m.allowed(sector, version, "after the crash", func(w *written) bool { return w.durable }); err != nil {
		return err
	}
	m.at(sector).writes = []*written{{version: version, durable: true}}
	return nil
}

func (m *model) allowed(sector int64, version byte, when string, counts func(*written) bool) error {
	h := m.at(sector)
	var why error
	for _, w := range h.writes {
		if w.version != version {
			continue
		}
		later := h.overwrote(w, counts)
		if later == nil {
			return nil
		}
		why = fmt.Errorf("%s: sector %d has %s, which %s overwrote", when, sector, name(version), name(later.version))
	}
	if why == nil {
		why = fmt.Errorf("%s: sector %d has %s, which was never written there", when, sector, name(version))
	}
	return why
}

// overwrote returns a write that counts and came after w was acknowledged.
func (h *history) overwrote(w *written, counts func(*written) bool) *written {
	for _, later := range h.writes {
		if w.acked < later.begun && counts(later) {
			return later
		}
	}
	return nil
}

// name is how a version is called in a story.
func name(version byte) string {
	if version == 0 {
		return "zeros"
	}
	return fmt.Sprintf("%q", string(rune(version)))
}
