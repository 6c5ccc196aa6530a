package mirror

import (
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/rangelock"
	"holdfast.dev/holdfast/journal"
)

var _ device.Scattered = (*Mirror)(nil)

// spreadMost is how many parts are read or written in one turn of the legs at the most:
// more than any disk gains from, and few enough that who wants one of their ranges
// does not wait for long.
const spreadMost = 32

// WriteScattered writes parts as WriteAt and WriteGuarded would, but as many as
// can be in one turn of the legs. Those that have to be read first, or to go to
// the journal, or that somebody is at, are written by themselves, or with those
// that follow.
func (m *Mirror) WriteScattered(parts []device.Part) error {
	return m.scattered(&writing, parts)
}

// way is how parts are read, or written, together.
type way struct {
	name string
	mode rangelock.Mode
	// fits says whether a part may be moved with others; sum, if not nil, notes what
	// it is to be checked by; do moves all; alone moves a part that could not be among
	// them.
	fits  func(*Mirror, *device.Part) bool
	sum   func(*spread, *device.Part) error
	do    func(*spread) error
	alone func(device.Device, *device.Part) error
}

var (
	reading = way{"read", rangelock.Shared, (*Mirror).whole, nil, (*spread).read, device.ReadPart}
	writing = way{"write", rangelock.Exclusive, (*Mirror).together, (*spread).sum, (*spread).write, device.WritePart}
)

// scattered reads or writes parts, as many as it can in one turn.
func (m *Mirror) scattered(w *way, parts []device.Part) error {
	for len(parts) > 0 {
		n, err := 0, error(nil)
		if len(parts) > 1 {
			n, err = m.spread(w, parts)
		}
		if n == 0 && err == nil {
			n, err = 1, w.alone(m, &parts[0])
		}
		if err != nil {
			return err
		}
		parts = parts[n:]
	}
	return nil
}

// spread is parts that are written home, or read from there, in one turn of the legs.
type spread struct {
	m     *Mirror
	spans []span
	parts []device.Part // where they go on a leg
	sums  []uint32      // of all blocks, if there are guards
}

// span is a part of a spread, and what it has taken.
type span struct {
	off         int64
	p           []byte
	held        *rangelock.Held // nil if the caller has it
	guards      *guardBlock     // nil if there are none, or the caller sees to them
	first, last int             // regions
}

// spread reads or writes the first parts, as many as it can in one turn, and returns
// how many. If that is none nothing was done.
func (m *Mirror) spread(w *way, parts []device.Part) (n int, err error) {
	s := m.spreads.get()
	defer s.giveBack()
	for n < min(len(parts), spreadMost) {
		p := &parts[n]
		took, err := s.take(w, p)
		if err != nil {
			return 0, m.opError(w.name, p.Off, int64(len(p.P)), err)
		}
		if !took {
			break
		}
		n++
	}
	if n == 0 {
		return 0, nil
	}
	if err = s.holdGuards(); err == nil {
		err = w.do(s)
	}
	return n, m.opError(w.name, parts[0].Off, 0, err)
}

// together says whether a part may be written with others.
func (m *Mirror) together(p *device.Part) bool {
	return !(m.ring.mode == JournalAlways && m.ring.j != nil) && m.whole(p)
}

// whole says whether a part is whole blocks, of which one block has the guards; or if
// there are none, anything.
func (m *Mirror) whole(p *device.Part) bool {
	n := int64(len(p.P))
	switch {
	case n == 0:
		return false
	case m.guards.on() || p.Sums != nil:
		return p.Off%BlockSize == 0 && n%BlockSize == 0 && p.Off%guardSpan+n <= guardSpan
	default:
		return true
	}
}

// take takes what a part needs, and says whether it could: it waits for the range of
// the first alone, as a batch does. What the ring holds it leaves, for that is newer and
// takes what comes after; and to be read, what has to be mended first. What it took
// before it failed is taken.
func (s *spread) take(w *way, p *device.Part) (took bool, err error) {
	m, n := s.m, int64(len(p.P))
	if !w.fits(m, p) {
		return false, nil
	}
	h, err := m.enterPart(w.name, p, len(s.spans) == 0, w.mode)
	if h == nil {
		return false, err
	}
	var few [4]journal.Version
	if len(m.ring.held(p.Off, n, few[:0])) > 0 || w.mode == rangelock.Shared && !m.regions.calm(p.Off, n) {
		m.ranges.Release(h)
		return false, nil
	}
	s.add(span{off: p.Off, p: p.P, held: h})
	if w.sum != nil {
		err = w.sum(s, p)
	}
	return err == nil, err
}

// sum notes the sums of a part, and checks it by those that it comes with.
func (s *spread) sum(p *device.Part) error {
	if !s.m.guards.on() {
		if p.Sums != nil {
			return device.CheckGuards(p.P, p.Off, p.Sums)
		}
		return nil
	}
	from := len(s.sums)
	for range len(p.P) / BlockSize {
		s.sums = append(s.sums, 0)
	}
	return sumBlocks(s.sums[from:], p.P, p.Off, p.Sums)
}

// holdGuards holds the guards of all parts.
func (s *spread) holdGuards() error {
	if !s.m.guards.on() {
		return nil
	}
	var offs [spreadMost]int64
	var blocks [spreadMost]*guardBlock
	for i := range s.spans {
		offs[i] = s.spans[i].off
	}
	n := len(s.spans)
	err := s.m.guards.holdAll(offs[:n], blocks[:n])
	for i := range s.spans {
		s.spans[i].guards = blocks[i]
	}
	return err
}

// add adds a part whose range is held.
func (s *spread) add(at span) {
	at.first, at.last = s.m.regions.span(at.off, int64(len(at.p)))
	s.spans = append(s.spans, at)
	s.parts = append(s.parts, device.Part{P: at.p, Off: s.m.geo.DataOff() + at.off})
}

// write writes the parts, each with its range, to every leg in sync or joining.
func (s *spread) write() error {
	m := s.m
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	ok, err := m.scatter(m.roll().targets(), s.parts)
	if err := m.settle(ok, err); err != nil {
		for _, at := range s.spans {
			m.regions.spoil(at.first, at.last, m.inSync().first())
		}
		m.resync.bell.Ring()
		return err
	}
	sums := s.sums
	for _, at := range s.spans {
		if at.guards == nil {
			continue
		}
		k := len(at.p) / BlockSize
		m.guards.wrote(at.guards, at.off, sums[:k], at.p)
		sums = sums[k:]
	}
	return nil
}

// begin is beginWrite for all regions, of which the first that is not marked has
// the marks of all made durable.
func (s *spread) begin() error {
	durable := true
	for _, at := range s.spans {
		durable = s.m.regions.begin(at.first, at.last) && durable
	}
	if durable {
		return nil
	}
	for _, at := range s.spans {
		if err := s.m.ensure(at.first, at.last); err != nil {
			s.end()
			return err
		}
	}
	return nil
}

func (s *spread) end() {
	for _, at := range s.spans {
		s.m.regions.end(at.first, at.last)
	}
}

// giveBack gives back what was taken, and the spread.
func (s *spread) giveBack() {
	for _, at := range s.spans {
		if at.guards != nil {
			s.m.guards.drop(at.guards)
		}
		if at.held != nil {
			s.m.ranges.Release(at.held)
		}
	}
	clear(s.spans)
	clear(s.parts)
	s.spans, s.parts, s.sums = s.spans[:0], s.parts[:0], s.sums[:0]
	s.m.spreads.put(s)
}
