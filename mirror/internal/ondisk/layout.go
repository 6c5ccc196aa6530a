package ondisk

import (
	"fmt"
	"math/bits"

	"github.com/google/uuid"

	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/journal"
)

// What bounds a leg and its parts; the package comment has the picture.
const (
	// BlockSize is the unit of metadata and of comparing legs, in bytes.
	BlockSize = 4096
	// MaxLegs is how many copies a pool can have. Four survives any two
	// failures with a spare; a superblock has places for eight.
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

	// HeadOffset is where a leg has its first superblock.
	HeadOffset = 4096
	// minLegSize has room for two superblocks; with less, offsets would wrap.
	minLegSize = HeadOffset + 2*BlockSize
	// dataAlign suits the erase blocks and stripes of common devices.
	dataAlign = 1 << 20
	// The journal takes a 64th of the data within these bounds: enough for
	// some thousand flushes, and replayed in about a second.
	journalShare = 64
	minJournal   = 1 << 20
	maxJournal   = 256 << 20
	// NoJournal asks for a pool without one.
	NoJournal = -1
	// MaxDataSize is what the largest regions can cover, 4 PiB; it also keeps
	// every sum of offsets far from overflow.
	MaxDataSize = MaxRegionSize * maxRegions
)

// AreaKind says what an area is for.
type AreaKind uint32

// The areas of a leg. Their numbers are those of their places in a superblock.
const (
	areaNone AreaKind = iota
	AreaLog
	AreaGuards
	AreaJournal
	AreaData
	areaKinds
)

// Area is a range of a leg with one use.
type Area struct {
	kind     AreaKind
	Off, Len int64
}

// End is the first byte past the area.
func (a Area) End() int64 { return a.Off + a.Len }

// Geometry is what all legs of a pool agree on, and never changes.
type Geometry struct {
	DataSize   int64
	RegionSize int64
	Guards     guard.Kind
	Journal    bool            // the area of that name is in use
	Areas      [areaKinds]Area // by kind; areaNone is unused
}

// DataOff is where the data begins.
func (g *Geometry) DataOff() int64 { return g.Areas[AreaData].Off }

// LogOff is where the region log begins.
func (g *Geometry) LogOff() int64 { return g.Areas[AreaLog].Off }

// Regions is how many regions the data has; the last may be short.
func (g *Geometry) Regions() int {
	return int((g.DataSize + g.RegionSize - 1) / g.RegionSize)
}

// Shift is the binary logarithm of the size of a region.
func (g *Geometry) Shift() uint { return uint(bits.TrailingZeros64(uint64(g.RegionSize))) }

// RoundUp returns the smallest multiple of to that is not below n.
func RoundUp(n, to int64) int64 { return (n + to - 1) / to * to }

// JournalConfig says where the journal of a pool lies.
func (g *Geometry) JournalConfig(pool uuid.UUID) journal.Config {
	a := g.Areas[AreaJournal]
	return journal.Config{Pool: pool, Off: a.Off, Len: a.Len, Blocks: uint64(g.DataSize / BlockSize)}
}

// journalSize is how long the journal's area is by rule.
func journalSize(size int64) int64 {
	return RoundUp(min(max(size/journalShare, minJournal), maxJournal), BlockSize)
}

// NewGeometry lays out a leg for size bytes of data. ring is the length of the
// journal's area; 0 is that of the rule.
func NewGeometry(size, regionSize int64, guards guard.Kind, ring int64) Geometry {
	g := Geometry{DataSize: size, RegionSize: regionSize, Guards: guards, Journal: ring != NoJournal}
	if ring <= 0 {
		ring = journalSize(size)
	}
	at := int64(HeadOffset + BlockSize)
	put := func(kind AreaKind, length int64) {
		g.Areas[kind] = Area{kind, at, length}
		at += length
	}
	put(AreaLog, logAreaSize)
	put(AreaGuards, RoundUp(size/BlockSize*guard.TupleSize, BlockSize))
	put(AreaJournal, ring)
	at = RoundUp(at, dataAlign)
	put(AreaData, size)
	return g
}

// LegSize is the size of the smallest leg with this geometry.
func (g *Geometry) LegSize() int64 { return g.Areas[AreaData].End() + BlockSize }

// TailOffset is where a leg of the given size has its second superblock.
func TailOffset(legSize int64) int64 { return legSize/BlockSize*BlockSize - BlockSize }

// LegSize returns the size in bytes that a leg must have to hold data bytes,
// with a journal of so many: 0 is by rule, and NoJournal takes as much. It depends
// neither on the size of the regions nor on the kind of the guards.
func LegSize(data, journal int64) int64 {
	g := NewGeometry(RoundUp(data, BlockSize), DefaultRegionSize, guard.None, journal)
	return g.LegSize()
}

// DataFor returns how many bytes of data a leg of the given size can hold, or
// zero if it cannot hold a block.
func DataFor(legSize, journal int64) int64 {
	lo, hi := int64(0), legSize/BlockSize // blocks: lo fits, hi+1 does not
	for lo < hi {
		mid := (lo + hi + 1) / 2
		if LegSize(mid*BlockSize, journal) <= legSize {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo * BlockSize
}

// PickRegionSize checks the region size that was asked for; 0 means the
// default, doubled until the log can hold the bits.
func PickRegionSize(asked, size int64) (int64, error) {
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
func (g *Geometry) checkAreas() error {
	if g.Areas[AreaData].Len < g.DataSize || g.Areas[AreaLog].Len < logAreaSize ||
		g.Areas[AreaGuards].Len < RoundUp(g.DataSize/BlockSize*guard.TupleSize, BlockSize) {
		return fmt.Errorf("data area of %d bytes, log area of %d and guard area of %d",
			g.Areas[AreaData].Len, g.Areas[AreaLog].Len, g.Areas[AreaGuards].Len)
	}
	if g.Journal {
		if _, err := journal.Format(g.JournalConfig(uuid.Nil)); err != nil {
			return err
		}
	}
	for _, a := range g.Areas {
		for _, o := range g.Areas {
			if a.kind < o.kind && a.Off < o.End() && o.Off < a.End() {
				return fmt.Errorf("areas %d and %d overlap", a.kind, o.kind)
			}
		}
	}
	return nil
}
