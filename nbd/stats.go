package nbd

import (
	"cmp"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// Stats is what a server has done and is doing.
type Stats struct {
	Accepted uint64 // connections taken
	Refused  uint64 // connections above the limit
	Broken   uint64 // connections ended by a fault of the client or the network

	Requests     uint64 // of all kinds, served
	Errors       uint64 // requests answered with an error
	ReadBytes    uint64
	WrittenBytes uint64
	Flushes      uint64

	Clients []ClientStats
}

// ClientStats describes one connection.
type ClientStats struct {
	Remote   string
	Export   string // empty during the handshake
	Since    time.Time
	Inflight int // requests that wait
}

// counters count requests; each connection has its own, so that counting does
// not make processors share a cache line.
type counters struct {
	requests, errors, readBytes, writtenBytes, flushes atomic.Uint64
}

// add counts a request.
func (n *counters) add(cmd *command) {
	n.requests.Add(1)
	switch cmd.typ {
	case cmdRead:
		n.readBytes.Add(uint64(cmd.length))
	case cmdWrite:
		n.writtenBytes.Add(uint64(cmd.length))
	case cmdFlush:
		n.flushes.Add(1)
	}
}

// addTo adds the counts to s.
func (n *counters) addTo(s *Stats) {
	s.Requests += n.requests.Load()
	s.Errors += n.errors.Load()
	s.ReadBytes += n.readBytes.Load()
	s.WrittenBytes += n.writtenBytes.Load()
	s.Flushes += n.flushes.Load()
}

// add adds the counts of o.
func (s *Stats) add(o *Stats) {
	s.Accepted += o.Accepted
	s.Refused += o.Refused
	s.Broken += o.Broken
	s.Requests += o.Requests
	s.Errors += o.Errors
	s.ReadBytes += o.ReadBytes
	s.WrittenBytes += o.WrittenBytes
	s.Flushes += o.Flushes
}

// Stats returns the server's counts since it began, and its connections, oldest
// first. It waits for no client and no export.
func (s *Server) Stats() Stats {
	var st Stats
	s.conns.Each(func(c *conn, since time.Time) {
		c.count.addTo(&st)
		c.mu.Lock()
		st.Clients = append(st.Clients, ClientStats{c.remote, c.mu.name, since, c.mu.inflight})
		c.mu.Unlock()
	}, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		st.add(&s.mu.past)
	})
	slices.SortFunc(st.Clients, func(a, b ClientStats) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Remote, b.Remote))
	})
	return st
}

// commandName is a command's name in logs.
func commandName(typ uint16) string {
	names := [...]string{"read", "write", "disc", "flush", "trim", "cache", "write zeroes", "block status"}
	if int(typ) < len(names) {
		return names[typ]
	}
	return strconv.Itoa(int(typ))
}
