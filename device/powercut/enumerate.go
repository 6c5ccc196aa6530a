package powercut

import (
	"bytes"
	"maps"
	"slices"
)

// choice is a sector that a cut may leave in one of several versions.
type choice struct {
	disk     int
	sector   int64
	versions [][]byte // distinct; the durable one first
}

// Enumerate calls yield with each combination of states that a cut at this
// moment may leave all disks in, on fresh disks and a fresh supply each, until
// yield returns false. It returns false, and calls nothing, if there are more
// than limit combinations.
func (s *Supply) Enumerate(limit int, yield func(disks []*Disk) bool) bool {
	disks := s.Disks()
	bases := make([]*store, len(disks))
	var choices []choice
	for i, d := range disks {
		var on []choice
		bases[i], on = d.choices(i)
		choices = append(choices, on...)
	}
	states := 1
	for _, c := range choices {
		if states > limit/len(c.versions) {
			return false
		}
		states *= len(c.versions)
	}
	if states > limit {
		return false
	}
	pick := make([]int, len(choices))
	for range states {
		if !yield(assemble(disks, bases, choices, pick)) {
			break
		}
		advance(choices, pick)
	}
	return true
}

// advance counts pick up, a number with one digit for each choice.
func advance(choices []choice, pick []int) {
	for i, c := range choices {
		if pick[i]++; pick[i] < len(c.versions) {
			return
		}
		pick[i] = 0
	}
}

func assemble(disks []*Disk, bases []*store, choices []choice, pick []int) []*Disk {
	left := make([]*store, len(disks))
	for i, b := range bases {
		left[i] = b.clone()
	}
	for i, c := range choices {
		left[c.disk].write(c.versions[pick[i]], c.sector*sectorSize)
	}
	on := new(Supply)
	for i, d := range disks {
		on.add(d.name, d.size, left[i])
	}
	return on.Disks()
}

// choices returns the durable content, and the sectors that may survive in
// another version than that, ascending.
func (d *Disk) choices(disk int) (base *store, choices []choice) {
	d.supply.mu.Lock()
	defer d.supply.mu.Unlock()
	base = d.durable.clone()
	// written holds something wherever zeros make a difference: where there is
	// durable content, and where a version has any.
	written := d.durable.clone()
	found := make(map[int64][][]byte)
	for _, v := range d.versions() {
		v.each(written, func(sector int64, data []byte) {
			if found[sector] == nil {
				was := make([]byte, sectorSize)
				base.read(was, sector*sectorSize)
				found[sector] = [][]byte{was}
			}
			same := func(o []byte) bool { return bytes.Equal(o, data) }
			if !slices.ContainsFunc(found[sector], same) {
				found[sector] = append(found[sector], data)
			}
		})
		if v.data != nil {
			v.applyTo(written)
		}
	}
	for _, sector := range slices.Sorted(maps.Keys(found)) {
		if len(found[sector]) > 1 {
			choices = append(choices, choice{disk: disk, sector: sector, versions: found[sector]})
		}
	}
	return base, choices
}
