package mirror

import (
	"fmt"
	"math/bits"

	"github.com/google/uuid"

	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/journal"
)

// Where things lie on a leg, in bytes:
//
//	0        left alone: boot sectors and partition tables live there
//	4096     superblock, first copy
//	8192     region log, the same length whatever the region size
//	...      guards, 8 bytes for each block of data
//	...      journal
//	n MiB    data
//	last     superblock, second copy, in the last whole block of the leg
//
// A pool without a journal has its area all the same, unused.
const (
	// BlockSize is the unit of metadata and of comparing legs, in bytes.
	BlockSize = 4096
	// MaxLegs is how many copies a pool can have. Four survives any two
	// failures with a spare; the masks in this package have room for no more.
	MaxLegs = 4
	// MinRegionSize and MaxRegionSize bound a region: below a block the log
	// would be finer than what is compared, above 4 GiB a single write would
	// cost a resync of minutes.
	MinRegionSize = BlockSize
	MaxRegionSize = 4 << 30
	// DefaultRegionSize keeps the resync after one small write to some
	// milliseconds, and the log of a TiB within 128 KiB.
	DefaultRegionSize = 1 << 20
	// maxRegions bounds the region log on disk and the table in memory.
	maxRegions = 1 << 20

	superOffset = 4096
	// minLegSize has room for two superblocks; with less, offsets would wrap.
	minLegSize = superOffset + 2*BlockSize
	// dataAlign suits the erase blocks and stripes of common devices.
	dataAlign = 1 << 20
	// The journal takes a 64th of the data within these bounds: enough for
	// some thousand flushes, and replayed in about a second.
	journalShare = 64
	minJournal   = 1 << 20
	maxJournal   = 256 << 20
	// NoJournal asks for a pool without one.
	NoJournal = -1
	// maxDataSize is what the largest regions can cover, 4 PiB; it also keeps
	// every sum of offsets far from overflow.
	maxDataSize = MaxRegionSize * maxRegions
)

type areaKind uint32

const (
	areaNone areaKind = iota
	areaLog
	areaGuards
	areaJournal
	areaData
	areaKinds
)

// area is a range of a leg with one use.
type area struct {
	kind     areaKind
	off, len int64
}

func (a area) end() int64 { return a.off + a.len }

// geometry is what all legs of a pool agree on, and never changes.
type geometry struct {
	dataSize   int64
	regionSize int64
	guards     guard.Kind
	journal    bool            // the area of that name is in use
	areas      [areaKinds]area // by kind; areaNone is unused
}

func (g *geometry) dataOff() int64 { return g.areas[areaData].off }
func (g *geometry) logOff() int64  { return g.areas[areaLog].off }

func (g *geometry) regions() int {
	return int((g.dataSize + g.regionSize - 1) / g.regionSize)
}

func (g *geometry) shift() uint { return uint(bits.TrailingZeros64(uint64(g.regionSize))) }

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }

// journalConfig says where the journal of a pool lies.
func (g *geometry) journalConfig(pool uuid.UUID) journal.Config {
	a := g.areas[areaJournal]
	return journal.Config{Pool: pool, Off: a.off, Len: a.len, Blocks: uint64(g.dataSize / BlockSize)}
}

// journalSize is how long the journal's area is by rule.
func journalSize(size int64) int64 {
	return roundUp(min(max(size/journalShare, minJournal), maxJournal), BlockSize)
}

// newGeometry lays out a leg for size bytes of data. ring is the length of the
// journal's area; 0 is that of the rule.
func newGeometry(size, regionSize int64, guards guard.Kind, ring int64) geometry {
	g := geometry{dataSize: size, regionSize: regionSize, guards: guards, journal: ring != NoJournal}
	if ring <= 0 {
		ring = journalSize(size)
	}
	at := int64(superOffset + BlockSize)
	put := func(kind areaKind, length int64) {
		g.areas[kind] = area{kind, at, length}
		at += length
	}
	put(areaLog, logAreaSize)
	put(areaGuards, roundUp(size/BlockSize*guard.TupleSize, BlockSize))
	put(areaJournal, ring)
	at = roundUp(at, dataAlign)
	put(areaData, size)
	return g
}

// legSize is the size of the smallest leg with this geometry.
func (g *geometry) legSize() int64 { return g.areas[areaData].end() + BlockSize }

// tailOffset is where a leg of the given size has its second superblock.
func tailOffset(legSize int64) int64 { return legSize/BlockSize*BlockSize - BlockSize }

// legSizeFor returns the size in bytes that a leg must have to hold data bytes,
// with a journal of so many: 0 is by rule, and NoJournal takes as much. It depends
// neither on the size of the regions nor on the kind of the guards.
func legSizeFor(data, journal int64) int64 {
	g := newGeometry(roundUp(data, BlockSize), DefaultRegionSize, guard.None, journal)
	return g.legSize()
}

// dataFor returns how many bytes of data a leg of the given size can hold, or
// zero if it cannot hold a block.
func dataFor(legSize, journal int64) int64 {
	lo, hi := int64(0), legSize/BlockSize // blocks: lo fits, hi+1 does not
	for lo < hi {
		mid := (lo + hi + 1) / 2
		if legSizeFor(mid*BlockSize, journal) <= legSize {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo * BlockSize
}

// pickRegionSize checks the region size that was asked for; 0 means the
// default, doubled until the log can hold the bits.
func pickRegionSize(asked, size int64) (int64, error) {
	if asked == 0 {
		asked = DefaultRegionSize
		for (size+asked-1)/asked > maxRegions {
			asked *= 2
		}
	}
	return asked, checkRegionSize(asked, size)
}

func checkRegionSize(regionSize, size int64) error {
	if regionSize < MinRegionSize || regionSize > MaxRegionSize || regionSize&(regionSize-1) != 0 {
		return fmt.Errorf("region size %d is not a power of two from %d to %d", regionSize, MinRegionSize, int64(MaxRegionSize))
	}
	if n := (size + regionSize - 1) / regionSize; n > maxRegions {
		return fmt.Errorf("region size %d makes %d regions of %d bytes, and the log holds %d: use larger regions", regionSize, n, size, maxRegions)
	}
	return nil
}

// checkAreas says whether the areas are large enough and apart.
func (g *geometry) checkAreas() error {
	if g.areas[areaData].len < g.dataSize || g.areas[areaLog].len < logAreaSize ||
		g.areas[areaGuards].len < roundUp(g.dataSize/BlockSize*guard.TupleSize, BlockSize) {
		return fmt.Errorf("data area of %d bytes, log area of %d and guard area of %d",
			g.areas[areaData].len, g.areas[areaLog].len, g.areas[areaGuards].len)
	}
	if g.journal {
		if _, err := journal.Format(g.journalConfig(uuid.Nil)); err != nil {
			return err
		}
	}
	for _, a := range g.areas {
		for _, o := range g.areas {
			if a.kind < o.kind && a.off < o.end() && o.off < a.end() {
				return fmt.Errorf("areas %d and %d overlap", a.kind, o.kind)
			}
		}
	}
	return nil
}
