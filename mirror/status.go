package mirror

// Status is what can be told about an open pool without waiting for a device.
type Status struct {
	Pool       string       `json:"pool"`
	Size       int64        `json:"size"`        // bytes
	RegionSize int64        `json:"region_size"` // bytes
	Generation uint64       `json:"generation"`
	Policy     Policy       `json:"policy"`
	Degraded   bool         `json:"degraded"` // some leg does not hold everything
	Legs       []LegStatus  `json:"legs"`
	Regions    RegionCounts `json:"regions"`
	Resync     ResyncStatus `json:"resync"`
	Guards     GuardStatus  `json:"guards"`
	Scrub      ScrubStatus  `json:"scrub"`
}

// LegStatus is what is known of one leg. Errors are counted from Open on.
type LegStatus struct {
	// Index is the leg's place, which it keeps as long as it is the pool's.
	Index       int         `json:"index"`
	Name        string      `json:"name"`
	UUID        string      `json:"uuid"`
	State       MemberState `json:"state"`
	ReadErrors  uint64      `json:"read_errors"`
	WriteErrors uint64      `json:"write_errors"`
	// RegionsLeft is how many regions a joining leg may still lack.
	RegionsLeft int64 `json:"regions_left,omitempty"`
	// Present says that the leg's device is open.
	Present bool `json:"present"`
	// Timeouts is how many of them were for want of an answer.
	Timeouts uint64 `json:"timeouts"`
	// ChecksumErrors is how many blocks held something else than was written.
	ChecksumErrors uint64 `json:"checksum_errors"`
}

// GuardStatus is what is known of the guards.
type GuardStatus struct {
	Kind string `json:"kind"`
	// Undecided is how many blocks no leg had one of that fitted its guard after
	// a crash, since Open: they were in flight then.
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
}

// Status returns the state of the pool. It never waits for a device.
func (m *Mirror) Status() Status {
	r := m.roll()
	s := Status{
		Pool:       m.pool.String(),
		Size:       m.geo.dataSize,
		RegionSize: m.geo.regionSize,
		Generation: m.members.generation.Load(),
		Policy:     m.policy,
		Degraded:   r.in != r.present,
		Regions:    m.regions.count(),
		Guards:     GuardStatus{Kind: m.guards.kind.String(), Undecided: m.undecided.Load()},
		Scrub:      m.scrub.report(),
		Resync: ResyncStatus{
			RegionsLeft:    m.regions.awaitingCount.Load(),
			RegionsDone:    m.resync.regions.Load(),
			BytesRead:      m.resync.bytesRead.Load(),
			BytesWritten:   m.resync.bytesWritten.Load(),
			BlocksDiffered: m.resync.differed.Load(),
		},
	}
	for i, l := range m.legs() {
		if !r.present.has(i) {
			continue
		}
		leg := LegStatus{
			Index: i, Name: l.name, UUID: l.uuid.String(), State: r.state(i), Present: !l.isAbsent(),
			ReadErrors: l.readErrors.Load(), WriteErrors: l.writeErrors.Load(),
			Timeouts: l.timeouts.Load(), ChecksumErrors: l.guardErrors.Load(),
		}
		if leg.State == Joining {
			leg.RegionsLeft = s.Resync.RegionsLeft
		}
		s.Legs = append(s.Legs, leg)
	}
	return s
}
