package powercut

import (
	"bytes"
	"maps"
	"slices"
)

// chunkSize is the unit of sharing in bytes: small, since most chunks of a
// survivor are never written again and those that are have one block changed.
const chunkSize = 4096

// store is sparse content. Clones share chunks until one of them writes, so a
// clone costs one map of pointers.
//
// Invariant: a chunk is written only by the store whose owner mark it carries;
// a mark belongs to one store at a time.
type store struct {
	chunks map[int64]*chunk // what is not there is zeros
	own    *owner
}

type chunk struct {
	owner *owner
	data  [chunkSize]byte
}

// owner is not empty: pointers to distinct empty values may be equal.
type owner struct{ _ byte }

func newStore() *store {
	return &store{chunks: make(map[int64]*chunk), own: new(owner)}
}

// clone returns a store with the same content. Both get fresh marks: no chunk
// that is there belongs to either.
func (s *store) clone() *store {
	s.own = new(owner)
	return &store{chunks: maps.Clone(s.chunks), own: new(owner)}
}

// mine returns a chunk that may be written.
func (s *store) mine(i int64) *chunk {
	c := s.chunks[i]
	if c != nil && c.owner == s.own {
		return c
	}
	m := &chunk{owner: s.own}
	if c != nil {
		m.data = c.data
	}
	s.chunks[i] = m
	return m
}

func (s *store) read(p []byte, off int64) {
	for len(p) > 0 {
		in := off % chunkSize
		n := min(chunkSize-in, int64(len(p)))
		if c := s.chunks[off/chunkSize]; c != nil {
			copy(p[:n], c.data[in:])
		} else {
			clear(p[:n])
		}
		p, off = p[n:], off+n
	}
}

func (s *store) write(p []byte, off int64) {
	for len(p) > 0 {
		in := off % chunkSize
		n := copy(s.mine(off / chunkSize).data[in:], p)
		p, off = p[n:], off+int64(n)
	}
}

func (s *store) zero(off, n int64) {
	for _, i := range s.chunksIn(off, n) {
		from, to := max(off-i*chunkSize, 0), min(off+n-i*chunkSize, chunkSize)
		if to-from == chunkSize {
			delete(s.chunks, i)
		} else {
			clear(s.mine(i).data[from:to])
		}
	}
}

// chunksIn returns the chunks that are there and touch [off, off+n), ascending:
// by looking for each, or where the range has more than there are, by looking
// at all there are.
func (s *store) chunksIn(off, n int64) []int64 {
	first, last := off/chunkSize, (off+n-1)/chunkSize
	var in []int64
	if last-first < int64(len(s.chunks)) {
		for i := first; i <= last; i++ {
			if s.chunks[i] != nil {
				in = append(in, i)
			}
		}
		return in
	}
	for i := range s.chunks {
		if first <= i && i <= last {
			in = append(in, i)
		}
	}
	slices.Sort(in)
	return in
}

// eachSector calls do for those of the sectors from first to last that lie in
// chunks that are there, ascending.
func (s *store) eachSector(first, last int64, do func(sector int64)) {
	const per = chunkSize / sectorSize
	for _, c := range s.chunksIn(first*sectorSize, (last-first+1)*sectorSize) {
		for i := max(first, c*per); i <= min(last, c*per+per-1); i++ {
			do(i)
		}
	}
}

// equal compares content. A chunk that two stores share is equal at a glance.
func (s *store) equal(o *store) bool {
	return s.within(o) && o.within(s)
}

func (s *store) within(o *store) bool {
	var zero [chunkSize]byte
	for i, c := range s.chunks {
		d := o.chunks[i]
		switch {
		case c == d:
		case d == nil && c.data != zero:
			return false
		case d != nil && !bytes.Equal(c.data[:], d.data[:]):
			return false
		}
	}
	return true
}
