package mirror

import (
	"encoding/binary"
	"fmt"
	"slices"

	"holdfast.dev/holdfast/device"
)

// model is what a pool may read as, sector by sector. Every write fills its
// sectors with a number of its own; zero stands for zeros.
type model struct {
	// may holds, for each sector, the versions that it may have after a crash:
	// what the last acknowledged flush covered, and all written since.
	may [][]uint64
	// is holds the version that was last written, where that is known.
	is map[int]uint64
	// seen holds the version that was last read, where is does not know. It
	// binds later reads as long as no leg fails: then another leg may have to
	// answer for a region that awaits resync.
	seen map[int]uint64
	next uint64
}

func newModel(size int64) *model {
	md := &model{is: make(map[int]uint64), seen: make(map[int]uint64)}
	for i := range int(size / device.SectorSize) {
		md.may = append(md.may, []uint64{0})
		md.is[i] = 0
	}
	return md
}

// bytes returns what a write of the next version of n sectors writes.
func (md *model) bytes(n int) (version uint64, p []byte) {
	md.next++
	p = make([]byte, 0, n*device.SectorSize)
	for len(p) < cap(p) {
		p = binary.LittleEndian.AppendUint64(p, md.next)
	}
	return md.next, p
}

// wrote notes a write that may have been done in part, and, if ok, was
// acknowledged.
func (md *model) wrote(first, n int, version uint64, ok bool) {
	for i := first; i < first+n; i++ {
		delete(md.seen, i)
		if !slices.Contains(md.may[i], version) {
			md.may[i] = append(md.may[i], version)
		}
		if ok {
			md.is[i] = version
		} else {
			delete(md.is, i)
		}
	}
}

// flushed notes an acknowledged flush: what was written is durable.
func (md *model) flushed() {
	for i, v := range md.is {
		md.may[i] = append(md.may[i][:0], v)
	}
}

// crashed forgets what reads must give.
func (md *model) crashed() {
	clear(md.is)
	clear(md.seen)
}

// read checks what was read from sector first on, and takes it for what will
// be read again.
func (md *model) read(first int, p []byte) error {
	for i := range len(p) / device.SectorSize {
		s := p[i*device.SectorSize:][:device.SectorSize]
		v := binary.LittleEndian.Uint64(s)
		for at := 8; at < len(s); at += 8 {
			if w := binary.LittleEndian.Uint64(s[at:]); w != v {
				return fmt.Errorf("H2: sector %d is a mix of %d and %d", first+i, v, w)
			}
		}
		if !slices.Contains(md.may[first+i], v) {
			return fmt.Errorf("H1, H2: sector %d reads as version %d, allowed are %v", first+i, v, md.may[first+i])
		}
		if is, known := md.is[first+i]; known && is != v {
			return fmt.Errorf("sector %d reads as version %d and was written as %d", first+i, v, is)
		}
		if seen, known := md.seen[first+i]; known && seen != v {
			return fmt.Errorf("sector %d reads as version %d and was read as %d", first+i, v, seen)
		}
		md.seen[first+i] = v
	}
	return nil
}

func (md *model) clone() *model {
	c := &model{is: make(map[int]uint64), seen: make(map[int]uint64), next: md.next}
	for _, vs := range md.may {
		c.may = append(c.may, slices.Clone(vs))
	}
	for i, v := range md.is {
		c.is[i] = v
	}
	return c
}
