package mirror

import (
	"bytes"
	"fmt"
	"slices"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/journal"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

const (
	// checkPiece is how much is compared at once, in bytes.
	checkPiece = 1 << 20
	// maxProblems bounds a report on legs that differ everywhere.
	maxProblems = 100
)

// Report is what Check found.
type Report struct {
	Pool string `json:"pool"`
	// Problems are what is wrong, a line each.
	Problems []string `json:"problems"`
	// Notes are what is worth knowing and not wrong, a line each.
	Notes []string `json:"notes"`
	// Unlisted is how many problems there were beyond those listed.
	Unlisted      int   `json:"unlisted"`
	Regions       int   `json:"regions"`
	DirtyRegions  int   `json:"dirty_regions"`
	BytesCompared int64 `json:"bytes_compared"`
}

// Sound says whether nothing is wrong.
func (r *Report) Sound() bool { return len(r.Problems) == 0 }

func (r *Report) problem(format string, args ...any) {
	if len(r.Problems) == maxProblems {
		r.Unlisted++
		return
	}
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

func (r *Report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// Check looks at the superblocks, region logs and journals of a pool that is not
// open, and compares its legs with each other and with their guards, outside the dirty
// regions. It writes nothing. The
// error is not nil only if the arguments make no sense.
func Check(legs []Leg) (Report, error) {
	var r Report
	if len(legs) < 1 || len(legs) > MaxLegs {
		return r, fmt.Errorf("%w: %d legs were given, a pool has from 1 to %d", ErrInvalid, len(legs), MaxLegs)
	}
	all, bad := identify(legs)
	for _, s := range bad {
		r.problem("%v", s.why)
	}
	if len(all) == 0 {
		return r, nil
	}
	for _, f := range all {
		r.checkCopies(f)
	}
	a, err := assemble(all, nil)
	if err != nil {
		r.problem("%v", err)
		return r, nil
	}
	r.Pool = a.newest.sb.Pool.String()
	r.checkMembers(a)
	dirty := r.checkLogs(a)
	r.checkRing(a)
	if a.roll.in.len() > 1 || a.newest.sb.Geometry.Guards != guard.None {
		r.compare(a, dirty)
	}
	return r, nil
}

func (r *Report) checkCopies(f *found) {
	if c := f.copies.Broken(); c != nil {
		r.problem("%s: superblock at %d: %v; the other serves", f.Name, c.Off, c.Err)
	} else if !f.copies.Settled() {
		r.note("%s: the two superblocks differ: an update was interrupted", f.Name)
	}
}

func (r *Report) checkMembers(a *assembly) {
	top := a.newest.sb
	for i, m := range top.Members {
		switch {
		case m.State == Failed:
			r.problem("leg %d (%s) is listed as failed: the pool is degraded", i, m.Leg)
		case a.gone.has(i):
			r.problem("leg %d (%s) is listed as %s and was not given", i, m.Leg, m.State)
		case m.State == Joining:
			r.problem("leg %d (%s) is joining: it does not hold everything yet", i, m.Leg)
		}
	}
	for _, s := range a.strangers {
		r.note("%s: %v", s.Name, s.why)
	}
	if top.State != ondisk.PoolClean {
		r.note("the pool was not closed: it is open, or was when it stopped")
	}
}

// checkLogs reads the legs' region logs and returns their union.
func (r *Report) checkLogs(a *assembly) []uint64 {
	g := &a.newest.sb.Geometry
	bits := make([]uint64, ondisk.LogBlocks(g.Regions())*ondisk.LogWords)
	for i, f := range a.byIndex {
		if !a.roll.targets().has(i) {
			continue
		}
		l := &leg{dev: f.Dev, sb: *f.sb}
		for _, b := range l.readLog(g, bits) {
			r.problem("%s: region log block %d: neither slot can be read; its regions count as dirty", f.Name, b)
		}
	}
	r.Regions, r.DirtyRegions = g.Regions(), countBits(bits)
	if r.DirtyRegions > 0 {
		r.note("%d of %d regions are dirty and were not compared", r.DirtyRegions, r.Regions)
	}
	return bits
}

// checkRing reads the journal of the legs in sync.
func (r *Report) checkRing(a *assembly) {
	sb := a.newest.sb
	if !sb.Geometry.Journal {
		return
	}
	var legs []*found
	var devices []device.Device
	for i, f := range a.byIndex {
		if a.roll.in.has(i) {
			legs, devices = append(legs, f), append(devices, f.Dev)
		}
	}
	rec, err := journal.Scan(sb.Geometry.JournalConfig(sb.Pool), devices)
	if err != nil {
		r.problem("journal: %v", err)
		return
	}
	for i, fault := range rec.Faults {
		if fault != nil {
			r.problem("%s: journal: %v", legs[i].Name, fault)
		}
	}
	if rec.Lost != nil {
		r.problem("journal: something that was flushed is lost: %v", rec.Lost)
	}
	if rec.Blocks > 0 {
		r.note("%d blocks are in the journal, and what is in their places is older", rec.Blocks)
	}
}

// compare compares the legs in the regions that are not dirty.
func (r *Report) compare(a *assembly, dirty []uint64) {
	g := &a.newest.sb.Geometry
	var legs []*found
	for i, f := range a.byIndex {
		if a.roll.in.has(i) {
			legs = append(legs, f)
		}
	}
	most := int(min(checkPiece, g.RegionSize))
	want, got := device.Aligned(most), device.Aligned(most)
	for off := int64(0); off < g.DataSize; {
		n := min(checkPiece, g.DataSize-off, g.RegionSize-off&(g.RegionSize-1))
		if !hasBit(dirty, int(off>>g.Shift())) && !unused(legs, g, off, n) {
			r.comparePiece(legs, g.DataOff(), off, want[:n], got[:n])
		}
		off += n
	}
}

func (r *Report) comparePiece(legs []*found, base, off int64, want, got []byte) {
	// A block that does not fit its guard is named with its leg, and not once more
	// because another leg has it as it was written.
	rotten := make([]bool, len(want)/BlockSize)
	if !r.readPiece(legs[0], base, off, want, rotten) {
		return
	}
	for _, f := range legs[1:] {
		known := slices.Clone(rotten)
		if !r.readPiece(f, base, off, got, known) {
			continue
		}
		r.BytesCompared += int64(len(got))
		for at := 0; at < len(want); at += BlockSize {
			if n := differing(want[at:], got[at:], known[at/BlockSize:]); n > 0 {
				r.problem("%s and %s differ in %d bytes at %d of the data", legs[0].Name, f.Name, n, off+int64(at))
				at += n
			}
		}
	}
}

// readPiece reads from a leg, checks what it reads against its guards, and notes
// the blocks that do not fit.
func (r *Report) readPiece(f *found, base, off int64, p []byte, rotten []bool) bool {
	if _, err := f.Dev.ReadAt(p, base+off); err != nil {
		r.problem("%s: %d bytes at %d of the data cannot be read: %v", f.Name, len(p), off, err)
		return false
	}
	g := &f.sb.Geometry
	if g.Guards == guard.None {
		return true
	}
	tuples := make([]byte, len(p)/BlockSize*guard.TupleSize)
	if _, err := f.Dev.ReadAt(tuples, g.Areas[ondisk.AreaGuards].Off+off/BlockSize*guard.TupleSize); err != nil {
		r.problem("%s: the guards of %d bytes at %d of the data cannot be read: %v", f.Name, len(p), off, err)
		return true
	}
	binding := guard.NewBinding(g.Guards, f.sb.Pool)
	for i := range len(p) / BlockSize {
		t, at := guard.Tuple(tuples[i*guard.TupleSize:]), off+int64(i)*BlockSize
		if !binding.Holds(t, uint64(at/BlockSize), p[i*BlockSize:][:BlockSize]) {
			r.problem("%s: the block at %d of the data does not fit its guard", f.Name, at)
			rotten[i] = true
		}
	}
	return true
}

// differing returns the length of the run of blocks at the start of a and b
// that differ and are not named yet.
func differing(a, b []byte, named []bool) (n int) {
	for n < len(a) && !named[n/BlockSize] && !bytes.Equal(a[n:n+BlockSize], b[n:n+BlockSize]) {
		n += BlockSize
	}
	return n
}

// unused says whether a range of the data is a hole, and its guards are.
func unused(legs []*found, g *ondisk.Geometry, off, n int64) bool {
	return allHoles(legs, g.DataOff()+off, n) &&
		(g.Guards == guard.None || allHoles(legs, g.Areas[ondisk.AreaGuards].Off+off/BlockSize*guard.TupleSize, n/BlockSize*guard.TupleSize))
}

// allHoles says whether the range is known to read as zeros on every leg.
func allHoles(legs []*found, off, n int64) bool {
	for _, f := range legs {
		hole := true
		err := device.Extents(f.Dev, off, n, func(e device.Extent) bool {
			hole = hole && e.Hole
			return hole
		})
		if err != nil || !hole {
			return false
		}
	}
	return true
}
