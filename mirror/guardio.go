package mirror

import (
	"cmp"
	"slices"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/internal/invariants"
	"holdfast.dev/holdfast/internal/seam"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// stagedBlocks is how many blocks of the guard area are written at a time: what
// 512 MiB of data change, in 1 MiB.
const stagedBlocks = 256

// staged are blocks of the guard area that are being written, as copies, so
// that they hold still while their tuples change. Only the task that flushes has
// one.
type staged struct {
	buf []byte
	// parts are where they go on a leg, neighbours together.
	parts []device.Part
}

// load reads blocks from every leg in sync, and notes where these disagree. A block
// that no leg can read has an error then.
func (g *guards) load(blocks []*guardBlock) {
	m, buf := g.m, device.Aligned(len(blocks)*BlockSize)
	parts := make([]device.Part, len(blocks))
	for k, b := range blocks {
		parts[k] = device.Part{P: buf[k*BlockSize:][:BlockSize], Off: g.place(b.index)}
	}
	known, errs := make([]bool, len(blocks)), make([]error, len(blocks))
	in := m.inSync()
	for i := range m.legs() {
		if !in.has(i) {
			continue
		}
		together := len(blocks) > 1 && m.readLegScattered(i, parts) == nil
		for k, b := range blocks {
			if !together {
				if err := m.readTuples(i, parts[k].P, b.index); err != nil {
					errs[k] = cmp.Or(errs[k], err)
					continue
				}
			}
			if known[k] {
				b.compare(g.kind, parts[k].P)
			} else {
				decodeTuples(b.tuples[:], parts[k].P)
				known[k] = true
			}
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for k, b := range blocks {
		b.loading = false
		if !known[k] {
			b.err = errs[k]
		} else if errs[k] != nil || b.anyUnsure() {
			g.markDirty(b) // some leg may hold another
		}
	}
	g.loaded.Broadcast()
}

// place is where on a leg a block of the guard area is.
func (g *guards) place(index int64) int64 {
	return g.m.geo.Areas[ondisk.AreaGuards].Off + index*BlockSize
}

// readTuples reads a block of the guard area of a leg.
func (m *Mirror) readTuples(i int, buf []byte, index int64) error {
	return m.readArea(i, buf, m.guards.place(index))
}

// compare notes which tuples in buf, another leg's, are not those of the block,
// and keeps the newer.
func (b *guardBlock) compare(kind guard.Kind, buf []byte) {
	var other [tuplesPerBlock]guard.Tuple
	decodeTuples(other[:], buf)
	for i, t := range other {
		if t == b.tuples[i] {
			continue
		}
		setBit(b.unsure[:], i)
		if kind.Newer(t, b.tuples[i]) {
			b.tuples[i] = t
		}
	}
}

func (b *guardBlock) anyUnsure() bool {
	for _, w := range b.unsure {
		if w != 0 {
			return true
		}
	}
	return false
}

func decodeTuples(dst []guard.Tuple, buf []byte) {
	for i := range dst {
		dst[i] = guard.Tuple(buf[i*guard.TupleSize:])
	}
}

// dirtyBlocks returns what is to be written, ascending, and holds it.
func (g *guards) dirtyBlocks() []*guardBlock {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dirty == 0 {
		return nil
	}
	all := make([]*guardBlock, 0, g.dirty)
	for _, b := range g.clock {
		if b.dirty {
			b.users++
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b *guardBlock) int { return cmp.Compare(a.index, b.index) })
	return all
}

// stage copies blocks to be written. A change from here on makes them dirty
// again.
func (g *guards) stage(s *staged, blocks []*guardBlock) {
	if s.buf == nil && len(blocks) > 0 {
		s.buf = device.Aligned(int(min(stagedBlocks*BlockSize, g.m.geo.Areas[ondisk.AreaGuards].Len)))
	}
	s.parts = s.parts[:0]
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, b := range blocks {
		seam.Point("mirror.guards", uint64(b.index))
		s.add(i, g.place(b.index))
		for k, t := range b.tuples {
			copy(s.buf[i*BlockSize+k*guard.TupleSize:], t[:])
		}
		if b.dirty {
			b.dirty = false
			g.dirty--
		}
	}
}

// done ends the hold on blocks that were written and flushed; where that failed
// they are dirty again.
func (g *guards) done(blocks []*guardBlock, good bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, b := range blocks {
		if !good {
			g.markDirty(b)
		}
		g.release(b)
	}
}

// add adds the i-th block, which goes to off.
func (s *staged) add(i int, off int64) {
	if k := len(s.parts) - 1; k >= 0 && s.parts[k].Off+int64(len(s.parts[k].P)) == off {
		p := &s.parts[k].P
		*p = (*p)[:len(*p)+BlockSize]
		return
	}
	s.parts = append(s.parts, device.Part{P: s.buf[i*BlockSize:][:BlockSize], Off: off})
}

// write writes what is staged to a leg.
func (s *staged) write(l *leg, area ondisk.Area) error {
	if len(s.parts) == 0 {
		return nil
	}
	first, last := &s.parts[0], &s.parts[len(s.parts)-1]
	invariants.Check(first.Off >= area.Off && last.Off+int64(len(last.P)) <= area.End(), "guards: staged from %d to %d", first.Off, last.Off)
	if first == last {
		return writeFull(l, first.P, first.Off)
	}
	return device.WriteScattered(l.dev, s.parts)
}

// discard makes the data blocks of whole blocks of the guard area unknown, on
// all legs at once. Requires the range of the data.
func (g *guards) discard(off, n int64) error {
	first, end := off/guardSpan, (off+n)/guardSpan
	m := g.m
	ok, err := m.onLegs(m.roll().targets(), opUnguard, nil, first*BlockSize, (end-first)*BlockSize)
	if err := m.settle(ok, err); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for index := range g.blocks {
		if b := g.blocks[index]; index >= first && index < end {
			b.tuples = [tuplesPerBlock]guard.Tuple{}
			clear(b.unsure[:])
			// A copy of the old tuples may be on its way to the legs.
			g.markDirty(b)
		}
	}
	return nil
}
