package powercut

import "holdfast.dev/holdfast/device"

const sectorSize = device.SectorSize

var zeroSector [sectorSize]byte

// version is what one write, discard or zeroing made of the sectors it touched.
type version struct {
	off, n int64  // bytes, as called
	data   []byte // n bytes; nil: zeros

	// head and tail are the first and the last sector where the call covers
	// them in part, with the bytes around it as they were. Where one sector is
	// both, it is head.
	head, tail []byte
}

func (v *version) first() int64 { return v.off / sectorSize }
func (v *version) last() int64  { return (v.off + v.n - 1) / sectorSize }

// settle fills head and tail: the version's bytes over what is in s.
func (v *version) settle(s *store) {
	end := v.off + v.n
	first, last := v.first(), v.last()
	if v.off%sectorSize != 0 || (first == last && end%sectorSize != 0) {
		v.head = v.over(s, first)
	}
	if last != first && end%sectorSize != 0 {
		v.tail = v.over(s, last)
	}
}

// over returns a sector of s with the version's bytes laid over it.
func (v *version) over(s *store, sector int64) []byte {
	p := make([]byte, sectorSize)
	start := sector * sectorSize
	s.read(p, start)
	from, to := max(v.off, start), min(v.off+v.n, start+sectorSize)
	if v.data == nil {
		clear(p[from-start : to-start])
	} else {
		copy(p[from-start:to-start], v.data[from-v.off:])
	}
	return p
}

// sector returns one whole sector of a settled version.
func (v *version) sector(i int64) []byte {
	switch {
	case i == v.first() && v.head != nil:
		return v.head
	case i == v.last() && v.tail != nil:
		return v.tail
	case v.data == nil:
		return zeroSector[:]
	default:
		at := i*sectorSize - v.off
		return v.data[at : at+sectorSize]
	}
}

// applyTo writes a settled version to s.
func (v *version) applyTo(s *store) {
	if v.data == nil {
		s.zero(v.off, v.n)
	} else {
		s.write(v.data, v.off)
	}
	if v.head != nil {
		s.write(v.head, v.first()*sectorSize)
	}
	if v.tail != nil {
		s.write(v.tail, v.last()*sectorSize)
	}
}

// each calls do for each sector of a settled version, ascending. Whole sectors
// of zeros that would go where s holds nothing are left out, so that the discard
// of a large empty disk costs nothing.
func (v *version) each(s *store, do func(sector int64, data []byte)) {
	from, to := v.first(), v.last()
	if v.head != nil {
		do(from, v.head)
		from++
	}
	if v.tail != nil {
		to--
	}
	if v.data != nil {
		for i := from; i <= to; i++ {
			do(i, v.sector(i))
		}
	} else if from <= to {
		s.eachSector(from, to, func(i int64) { do(i, zeroSector[:]) })
	}
	if v.tail != nil {
		do(v.last(), v.tail)
	}
}
