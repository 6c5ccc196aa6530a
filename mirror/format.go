package mirror

import (
	"fmt"

	"github.com/google/uuid"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/journal"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// What bounds a pool, and can be asked for.
const (
	// BlockSize is the unit of metadata and of comparing legs, in bytes.
	BlockSize = ondisk.BlockSize
	// MaxLegs is how many copies a pool can have.
	MaxLegs = ondisk.MaxLegs
	// MinRegionSize and MaxRegionSize bound a region, in bytes.
	MinRegionSize = ondisk.MinRegionSize
	MaxRegionSize = ondisk.MaxRegionSize
	// DefaultRegionSize is that of a region where nothing else was asked for, in
	// bytes, unless the pool is large.
	DefaultRegionSize = ondisk.DefaultRegionSize
	// NoJournal asks for a pool without one.
	NoJournal = ondisk.NoJournal
)

// Leg is a device that is to be, or is, one copy of a pool.
type Leg struct {
	// Name is how a person knows the device: the path that was given, mostly.
	Name string
	Dev  device.Device
}

// FormatOptions says how to make a pool.
type FormatOptions struct {
	// Size is the size of the data in bytes, a multiple of BlockSize; 0 means
	// as much as the smallest leg holds.
	Size int64
	// RegionSize is what one bit of the region log stands for, in bytes, a
	// power of two; 0 means DefaultRegionSize, or more where the pool is large.
	RegionSize int64
	// Guards is what is stored to check each block by.
	Guards guard.Kind
	// Journal is the length of the journal's area in bytes, a multiple of
	// BlockSize; 0 means a 64th of the data, from 1 to 256 MiB, and NoJournal none.
	Journal int64
}

// LegSize returns the size in bytes that a leg must have to hold data bytes,
// with a journal of the size that is the rule, or none. It depends neither on the
// size of the regions nor on the kind of the guards.
func LegSize(data int64) int64 { return ondisk.LegSize(data, 0) }

// LegSizeWith is LegSize with a journal of so many bytes.
func LegSizeWith(data, journal int64) int64 { return ondisk.LegSize(data, journal) }

// Format makes a pool of the legs. It refuses legs that already belong to one.
//
// Data is left as it is. Where the legs may hold different bytes, which is
// everywhere but in holes, the region log says so, and the first Open resyncs
// it from the first leg.
func Format(legs []Leg, o FormatOptions) error {
	if len(legs) < 1 || len(legs) > MaxLegs {
		return fmt.Errorf("%w: %d legs: a pool has from 1 to %d", ErrInvalid, len(legs), MaxLegs)
	}
	g, err := pickGeometry(legs, o)
	if err != nil {
		return err
	}
	for _, l := range legs {
		c := ondisk.ReadCopies(l.Dev)
		if sb := c.Best(); sb != nil {
			return fmt.Errorf("%w: %s is leg %d of pool %s: wipe it first if that pool is not needed", ErrInUse, l.Name, sb.Index, sb.Pool)
		}
	}
	unequal, err := unequalRegions(legs, &g)
	if err != nil {
		return err
	}
	supers := newSuperblocks(legs, &g)
	ring, err := emptyRing(&supers[0])
	if err != nil {
		return err
	}
	for i := range supers {
		supers[i].Unsettled = countBits(unequal) > 0
	}
	for i, l := range legs {
		if err := formatLeg(l, &supers[i], unequal, ring); err != nil {
			return fmt.Errorf("cannot format leg %s: %w", l.Name, err)
		}
	}
	return nil
}

func pickGeometry(legs []Leg, o FormatOptions) (ondisk.Geometry, error) {
	smallest := legs[0]
	for _, l := range legs {
		if l.Dev.Size() < smallest.Dev.Size() {
			smallest = l
		}
	}
	size := o.Size
	if size == 0 {
		size = min(ondisk.DataFor(smallest.Dev.Size(), o.Journal), ondisk.MaxDataSize)
		if size == 0 {
			return ondisk.Geometry{}, fmt.Errorf("%w: %s is %d bytes, and a leg takes at least %d", ErrTooSmall, smallest.Name, smallest.Dev.Size(), ondisk.LegSize(BlockSize, o.Journal))
		}
	}
	if size < 0 || size > ondisk.MaxDataSize || size%BlockSize != 0 {
		return ondisk.Geometry{}, fmt.Errorf("%w: data size %d is not a multiple of %d up to %d", ErrInvalid, size, BlockSize, int64(ondisk.MaxDataSize))
	}
	regionSize, err := ondisk.PickRegionSize(o.RegionSize, size)
	if err != nil {
		return ondisk.Geometry{}, fmt.Errorf("%w: %v", ErrInvalid, err)
	}
	if need := ondisk.LegSize(size, o.Journal); smallest.Dev.Size() < need {
		return ondisk.Geometry{}, fmt.Errorf("%w: %s is %d bytes, and a leg for %d bytes of data takes %d", ErrTooSmall, smallest.Name, smallest.Dev.Size(), size, need)
	}
	return ondisk.NewGeometry(size, regionSize, o.Guards, o.Journal), nil
}

// unequalRegions returns the bits of the regions in which some leg holds data
// and another might hold other data.
func unequalRegions(legs []Leg, g *ondisk.Geometry) ([]uint64, error) {
	bits := make([]uint64, ondisk.LogBlocks(g.Regions())*ondisk.LogWords)
	if len(legs) == 1 {
		return bits, nil
	}
	for _, l := range legs {
		err := device.Extents(l.Dev, g.DataOff(), g.DataSize, func(e device.Extent) bool {
			if !e.Hole && e.Len > 0 {
				off := e.Off - g.DataOff()
				for i := off >> g.Shift(); i <= (off+e.Len-1)>>g.Shift(); i++ {
					setBit(bits, int(i))
				}
			}
			return true
		})
		if err != nil {
			return nil, fmt.Errorf("leg %s: %w", l.Name, err)
		}
	}
	return bits, nil
}

func newSuperblocks(legs []Leg, g *ondisk.Geometry) []ondisk.Superblock {
	supers := make([]ondisk.Superblock, len(legs))
	members := make([]ondisk.Member, len(legs))
	pool := uuid.New()
	for i, l := range legs {
		members[i] = ondisk.Member{Leg: uuid.New(), State: InSync, Since: 1}
		supers[i] = ondisk.Superblock{
			Pool: pool, Leg: members[i].Leg, Index: i, LegSize: l.Dev.Size() / BlockSize * BlockSize,
			Generation: 1, Used: 1, State: ondisk.PoolClean, Geometry: *g, Members: members,
		}
	}
	return supers
}

// formatLeg writes the log, and guards that know nothing, then the superblocks
// that make them count.
func formatLeg(l Leg, sb *ondisk.Superblock, unequal []uint64, ring []journal.Write) error {
	if err := clearGuards(l.Dev, &sb.Geometry); err != nil {
		return err
	}
	for _, w := range ring {
		if _, err := l.Dev.WriteAt(w.P, w.Off); err != nil {
			return err
		}
	}
	buf := device.Aligned(BlockSize)
	for b := range len(unequal) / ondisk.LogWords {
		for seq := uint64(1); seq <= 2; seq++ {
			ondisk.EncodeLogBlock(buf, sb.Pool, b, seq, (*ondisk.LogBits)(unequal[b*ondisk.LogWords:]))
			if _, err := l.Dev.WriteAt(buf, sb.Geometry.LogOff()+ondisk.LogSlotOffset(b, seq)); err != nil {
				return err
			}
		}
	}
	if err := l.Dev.Flush(); err != nil {
		return err
	}
	worse := 0
	return ondisk.WriteCopies(l.Dev, l.Dev.Flush, sb, &worse, buf)
}

// emptyRing returns what makes an empty journal of a leg's area; nothing, if the
// pool has none. It is the same for all legs of a pool.
func emptyRing(sb *ondisk.Superblock) ([]journal.Write, error) {
	if !sb.Geometry.Journal {
		return nil, nil
	}
	w, err := journal.Format(sb.Geometry.JournalConfig(sb.Pool))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return []journal.Write{w}, nil
}

// clearGuards makes guards that know nothing of a leg's guard area.
func clearGuards(d device.Device, g *ondisk.Geometry) error {
	if g.Guards == guard.None {
		return nil
	}
	a := g.Areas[ondisk.AreaGuards]
	return d.Discard(a.Off, a.Len)
}
