package mirror

import (
	"time"

	"holdfast.dev/holdfast/internal/eventlog"
	"holdfast.dev/holdfast/internal/seam"
)

// bout is one resync, from the first region that awaits it until none does: after a
// crash, while a leg joins, or after a write that failed everywhere.
type bout struct {
	mu seam.Mutex
	// All below is guarded by mu.

	running bool
	began   time.Time
	// regions were made equal since open when it began, and so many bytes written.
	regions, written uint64
	done             int64 // bytes
	speed            rolling
}

// beginBout notes that there is something to do.
func (m *Mirror) beginBout() {
	b := &m.resync.bout
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running {
		return
	}
	b.running, b.began, b.done, b.speed = true, seam.Now(), 0, rolling{}
	b.regions, b.written = m.resync.regions.Load(), m.resync.bytesWritten.Load()
	m.slog.Info("resync begins: the legs are made equal", eventlog.Key, eventlog.ResyncBegan, "regions", m.regions.awaitingCount.Load())
}

// endBout notes that there is nothing left to do.
func (m *Mirror) endBout() {
	b := &m.resync.bout
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.running {
		return
	}
	b.running = false
	m.slog.Info("resync is done: the legs are equal", eventlog.Key, eventlog.ResyncEnded, "regions", m.resync.regions.Load()-b.regions,
		"bytes_written", m.resync.bytesWritten.Load()-b.written, "took_seconds", int64(seam.Now().Sub(b.began).Seconds()))
}

// advance notes that n bytes are equal.
func (b *bout) advance(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done += n
	b.speed.note(b.done)
}

// describe says in a status how far it is.
func (b *bout) describe(s *Status) {
	b.mu.Lock()
	defer b.mu.Unlock()
	y := &s.Resync
	if !b.running || y.RegionsLeft == 0 {
		return
	}
	y.RegionsTotal = y.RegionsLeft + int64(y.RegionsDone-b.regions)
	y.Rate = b.speed.rate
	y.SecondsLeft = b.speed.secondsFor(y.RegionsLeft * s.RegionSize)
}

// SetResyncShare changes which part of the time the resync may take; 0 is all.
func (m *Mirror) SetResyncShare(share float64) error {
	if err := checkShare(share); err != nil {
		return m.opError("resync", 0, 0, err)
	}
	m.resync.share.store(share)
	m.resync.rests.Ring()
	return nil
}
