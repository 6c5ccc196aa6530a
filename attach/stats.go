package attach

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"holdfast.dev/holdfast/cache"
)

// Stats is what a server did, and for whom.
type Stats struct {
	// ReadFaults and WriteFaults were served, Refused among them not granted.
	ReadFaults, WriteFaults, Refused int64
	// Protects is how often write access was taken away, Scans how often windows in
	// the asynchronous mode were searched for stores.
	Protects, Scans int64
	// Detached is how many clients were let go because of what they did.
	Detached int64
	// Guardian is the number of the guardian's process, 0 if there is none.
	Guardian int
	// Clients are those of the moment, by process.
	Clients []ClientStats
}

// ClientStats describes a client.
type ClientStats struct {
	PID     int32
	UID     uint32
	Windows []WindowStats
}

// WindowStats describes what a client has mapped.
type WindowStats struct {
	Volume      string
	Off, Length int64
	Writable    bool
	// Async says that its stores are not announced.
	Async bool
	// Unannounced is how often the volume's memory was found changed without a
	// store having been announced. Where several clients have the volume it is
	// counted for each, as it may have been any.
	Unannounced int64
}

type counters struct {
	readFaults, writeFaults, refused, protects, scans, detached atomic.Int64
}

// Stats returns the server's counts. It never waits for a client or a volume.
func (s *Server) Stats() Stats {
	st := Stats{
		ReadFaults:  s.count.readFaults.Load(),
		WriteFaults: s.count.writeFaults.Load(),
		Refused:     s.count.refused.Load(),
		Protects:    s.count.protects.Load(),
		Scans:       s.count.scans.Load(),
		Detached:    s.count.detached.Load(),
		Guardian:    int(s.guard.pid.Load()),
	}
	s.sessions.Each(func(c *session, _ time.Time) { st.Clients = append(st.Clients, c.stats()) }, nil)
	slices.SortFunc(st.Clients, func(a, b ClientStats) int { return cmp.Compare(a.PID, b.PID) })
	return st
}

func (c *session) stats() ClientStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := ClientStats{PID: c.cred.Pid, UID: c.cred.Uid}
	for _, w := range c.mu.windows {
		st.Windows = append(st.Windows, WindowStats{
			Volume: w.volume, Off: w.first * cache.PageSize, Length: w.pages * cache.PageSize,
			Writable: w.writable, Async: w.async, Unannounced: w.unannounced.Load(),
		})
	}
	slices.SortFunc(st.Windows, func(a, b WindowStats) int {
		return cmp.Or(cmp.Compare(a.Volume, b.Volume), cmp.Compare(a.Off, b.Off))
	})
	return st
}
