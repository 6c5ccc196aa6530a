package holdfast

import (
	"os"
	"time"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/mirror"
	"holdfast.dev/holdfast/volume"
)

// StatusVersion is the version of Status as JSON. It rises when a field goes or
// changes its meaning; fields may be added without.
const StatusVersion = 2

// State says in a word how a pool is.
type State string

const (
	// StateSound: it is open, and every leg holds everything that was flushed.
	StateSound State = "sound"
	// StateResyncing: it is open, and the legs are being made equal after a crash.
	StateResyncing State = "resyncing"
	// StateFailing: it is open, and what is written does not reach the legs.
	StateFailing State = "failing"
	// StateDegraded: a leg has failed, and the others do its work.
	StateDegraded State = "degraded"
	// StateStopped: it is not open.
	StateStopped State = "stopped"
)

// Status is what a pool is and does. Sizes are bytes.
type Status struct {
	Version int    `json:"version"`
	Dir     string `json:"dir"`
	State   State  `json:"state"`
	// Finding is what happened and what to do, if there is anything to say, and More
	// what else there is.
	Finding
	More []Finding `json:"more,omitempty"`
	// PID and Uptime are of the process that has it open; Cache is what it has in
	// memory. They are left out of a stopped pool's.
	PID    int          `json:"pid,omitempty"`
	Uptime float64      `json:"uptime_seconds,omitempty"`
	Cache  *cache.Stats `json:"cache,omitempty"`

	Pool       string               `json:"pool"` // its UUID
	Size       int64                `json:"size"`
	Generation uint64               `json:"generation"`
	Legs       []LegStatus          `json:"legs"`
	RegionSize int64                `json:"region_size"`
	Policy     string               `json:"region_policy"`
	Regions    mirror.RegionCounts  `json:"regions"`
	Resync     mirror.ResyncStatus  `json:"resync"`
	Guards     mirror.GuardStatus   `json:"guards"`
	Journal    mirror.JournalStatus `json:"journal"`
	Scrub      ScrubStatus          `json:"scrub"`
	Volumes    []VolumeStatus       `json:"volumes"`
	NBD        []ConnectionStatus   `json:"nbd_connections"`
	Mapped     []MappedStatus       `json:"mapped"`
}

// JournalStatus is what is known of the journal.
type JournalStatus = mirror.JournalStatus

// ScrubStatus is how far a scrub is, or what the last one found.
type ScrubStatus = mirror.ScrubStatus

// The states of a scrub.
const (
	ScrubNone        = mirror.ScrubNone
	ScrubRunning     = mirror.ScrubRunning
	ScrubStopping    = mirror.ScrubStopping
	ScrubStopped     = mirror.ScrubStopped
	ScrubInterrupted = mirror.ScrubInterrupted
	ScrubDone        = mirror.ScrubDone
	ScrubFailed      = mirror.ScrubFailed
)

// LegStatus describes a leg.
type LegStatus struct {
	Name  string `json:"name"`
	UUID  string `json:"uuid"`
	State string `json:"state"`
	// LegErrors are counted since they were last cleared.
	mirror.LegErrors
	// RegionsLeft is how many regions a joining leg may still lack.
	RegionsLeft int64 `json:"regions_left,omitempty"`
	// Present says that its device is open.
	Present bool `json:"present"`
}

// VolumeStatus describes a volume.
type VolumeStatus struct {
	Name      string `json:"name"`
	UUID      string `json:"uuid"`
	Size      int64  `json:"size"`
	Stability string `json:"stability"`
}

// ConnectionStatus describes an NBD client.
type ConnectionStatus struct {
	Remote   string    `json:"remote"`
	Volume   string    `json:"volume"` // empty during the handshake
	Since    time.Time `json:"since"`
	InFlight int       `json:"in_flight"`
}

// MappedStatus describes a range of a volume in another process's memory.
type MappedStatus struct {
	PID      int32  `json:"pid"`
	UID      uint32 `json:"uid"`
	Volume   string `json:"volume"`
	Off      int64  `json:"offset"`
	Length   int64  `json:"length"`
	Writable bool   `json:"writable"`
	// Async says that its stores are not announced.
	Async bool `json:"async"`
	// Unannounced is how often the volume's memory was found changed although
	// nobody had been given write access.
	Unannounced int64 `json:"unannounced"`
}

// Status returns how the pool is. It waits for neither legs nor clients.
func (p *Pool) Status() Status {
	stats := p.cache.Stats()
	s := p.status(p.mirror.Status(), p.table)
	s.Cache = &stats
	s.PID = os.Getpid()
	s.Uptime = time.Since(p.opened).Seconds()
	for _, c := range p.server.Stats().Clients {
		s.NBD = append(s.NBD, ConnectionStatus{c.Remote, c.Export, c.Since, c.Inflight})
	}
	for _, c := range p.mapper.Stats().Clients {
		for _, w := range c.Windows {
			s.Mapped = append(s.Mapped, MappedStatus{c.PID, c.UID, w.Volume, w.Off, w.Length, w.Writable, w.Async, w.Unannounced})
		}
	}
	s.judge()
	return s
}

// status fills in what can be said of stopped and open pools alike.
func (p *Pool) status(m mirror.Status, table *volume.Table) Status {
	s := Status{
		Version: StatusVersion, Dir: p.dir,
		Pool: m.Pool, Size: m.Size, Generation: m.Generation,
		RegionSize: m.RegionSize, Policy: p.settings.RegionLog.Policy, Regions: m.Regions, Resync: m.Resync,
		Guards: m.Guards, Journal: m.Journal, Scrub: m.Scrub,
		Volumes: []VolumeStatus{}, NBD: []ConnectionStatus{}, Mapped: []MappedStatus{},
	}
	for _, v := range table.Volumes() {
		s.Volumes = append(s.Volumes, VolumeStatus{
			Name: v.Name(), UUID: v.ID().String(), Size: v.Size(), Stability: p.settings.Stability(v.Name()),
		})
	}
	for _, l := range m.Legs {
		s.Legs = append(s.Legs, legStatus(l))
	}
	return s
}

func legStatus(l mirror.LegStatus) LegStatus {
	return LegStatus{
		Name: l.Name, UUID: l.UUID, State: l.State.String(), LegErrors: l.LegErrors,
		RegionsLeft: l.RegionsLeft, Present: l.Present,
	}
}
