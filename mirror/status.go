package mirror

// Status is what can be told about an open pool without waiting for a device.
type Status struct {
	Pool       string       `json:"pool"`
	Size       int64        `json:"size"`        // bytes
	RegionSize int64        `json:"region_size"` // bytes
	Generation uint64       `json:"generation"`
	Policy     Policy       `json:"policy"`
	Degraded   bool         `json:"degraded"`
	Legs       []LegStatus  `json:"legs"`
	Regions    RegionCounts `json:"regions"`
	Resync     ResyncStatus `json:"resync"`
	Guards     GuardStatus  `json:"guards"`
	Scrub      ScrubStatus  `json:"scrub"`
}

// LegStatus is what is known of one leg. Errors are counted from Open on.
type LegStatus struct {
	Name        string      `json:"name"`
	UUID        string      `json:"uuid"`
	State       MemberState `json:"state"`
	ReadErrors  uint64      `json:"read_errors"`
	WriteErrors uint64      `json:"write_errors"`
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
	in := m.inSync()
	s := Status{
		Pool:       m.pool.String(),
		Size:       m.geo.dataSize,
		RegionSize: m.geo.regionSize,
		Generation: m.members.generation.Load(),
		Policy:     m.policy,
		Degraded:   !m.full(),
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
	for i, l := range m.legs {
		state := Failed
		if in.has(i) {
			state = InSync
		}
		s.Legs = append(s.Legs, LegStatus{
			Name: l.name, UUID: l.uuid.String(), State: state,
			ReadErrors: l.readErrors.Load(), WriteErrors: l.writeErrors.Load(),
			Timeouts: l.timeouts.Load(), ChecksumErrors: l.guardErrors.Load(),
		})
	}
	return s
}
