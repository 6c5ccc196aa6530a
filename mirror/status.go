package mirror

// Status is what can be told about an open pool without waiting for a device.
type Status struct {
	Pool       string        `json:"pool"`
	Size       int64         `json:"size"`        // bytes
	RegionSize int64         `json:"region_size"` // bytes
	Generation uint64        `json:"generation"`
	Policy     Policy        `json:"policy"`
	Degraded   bool          `json:"degraded"` // some leg does not hold everything
	Legs       []LegStatus   `json:"legs"`
	Regions    RegionCounts  `json:"regions"`
	Resync     ResyncStatus  `json:"resync"`
	Guards     GuardStatus   `json:"guards"`
	Scrub      ScrubStatus   `json:"scrub"`
	Journal    JournalStatus `json:"journal"`
}

// LegStatus is what is known of one leg.
type LegStatus struct {
	// Index is the leg's place, which it keeps as long as it is the pool's.
	Index int         `json:"index"`
	Name  string      `json:"name"`
	UUID  string      `json:"uuid"`
	State MemberState `json:"state"`
	LegErrors
	// RegionsLeft is how many regions a joining leg may still lack.
	RegionsLeft int64 `json:"regions_left,omitempty"`
	// Present says that the leg's device is open.
	Present bool `json:"present"`
}

// GuardStatus is what is known of the guards.
type GuardStatus struct {
	Kind string `json:"kind"`
	// Undecided is how many blocks no leg had one of that fitted its guard after
	// a crash, since Open, or since all errors were cleared: they were in flight.
	Undecided uint64 `json:"undecided"`
}

// ResyncStatus is how far the resync is, counted from Open on.
type ResyncStatus struct {
	RegionsLeft  int64  `json:"regions_left"`
	RegionsDone  uint64 `json:"regions_done"`
	BytesRead    uint64 `json:"bytes_read"`
	BytesWritten uint64 `json:"bytes_written"`
	// BlocksDiffered is how many blocks of BlockSize were written because a
	// leg held other bytes, or could not be read.
	BlocksDiffered uint64 `json:"blocks_differed"`

	// Share is which part of the time it may take; 0 is all.
	Share float64 `json:"share"`
	// The one that is under way: how many regions it is for in all, how fast it is
	// in bytes a second, of late, and how long it will take. 0 is none, or not known.
	RegionsTotal int64   `json:"regions_total"`
	Rate         int64   `json:"rate"`
	SecondsLeft  float64 `json:"seconds_left"`
}

// Status returns the state of the pool. It never waits for a device.
func (m *Mirror) Status() Status {
	r := m.roll()
	s := Status{
		Pool:       m.pool.String(),
		Size:       m.geo.DataSize,
		RegionSize: m.geo.RegionSize,
		Generation: m.members.generation.Load(),
		Policy:     m.policy,
		Degraded:   r.in != r.present,
		Regions:    m.regions.count(),
		Guards:     GuardStatus{Kind: m.guards.kind.String(), Undecided: m.undecided.Load()},
		Scrub:      m.scrub.report(),
		Journal:    m.ring.status(),
		Resync: ResyncStatus{
			RegionsLeft:    m.regions.awaitingCount.Load(),
			RegionsDone:    m.resync.regions.Load(),
			BytesRead:      m.resync.bytesRead.Load(),
			BytesWritten:   m.resync.bytesWritten.Load(),
			BlocksDiffered: m.resync.differed.Load(),
			Share:          m.resync.share.load(),
		},
	}
	m.resync.bout.describe(&s)
	for i, l := range m.legs() {
		if !r.present.has(i) {
			continue
		}
		leg := LegStatus{
			Index: i, Name: l.name, UUID: l.uuid.String(), State: r.state(i), Present: !l.isAbsent(),
			LegErrors: l.errors(),
		}
		if leg.State == Joining {
			leg.RegionsLeft = s.Resync.RegionsLeft
		}
		s.Legs = append(s.Legs, leg)
	}
	return s
}
