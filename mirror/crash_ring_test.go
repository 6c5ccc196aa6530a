package mirror

import (
	"fmt"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/powercut"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// crashRings are the sizes of the journals: none, the least, which takes one block
// at a time, and a few blocks more. All wrap often.
var crashRings = [...]int64{NoJournal, 10 * BlockSize, 42 * BlockSize}

// batch writes a few parts at once: scattered, or as a batch and what is left of
// them one by one.
func (c *crash) batch() error {
	var parts []device.Part
	var versions []uint64
	end := 0
	for range 1 + c.rng.IntN(6) {
		first := end + c.rng.IntN(24)
		if c.rng.IntN(3) > 0 {
			first = int(ondisk.RoundUp(int64(first), 8))
		}
		n := []int{1, 3, 8, 8, 8, 16}[c.rng.IntN(6)]
		if end = first + n; end > crashSectors {
			break
		}
		version, p := c.model.bytes(n)
		part := device.Part{P: p, Off: int64(first) * device.SectorSize}
		if first%8 == 0 && n%8 == 0 && c.rng.IntN(2) == 0 {
			part.Sums = sumsOf(p)
		}
		parts, versions = append(parts, part), append(versions, version)
	}
	n, synced, err := len(parts), false, error(nil)
	switch c.rng.IntN(3) {
	case 0:
		err = c.m.WriteScattered(parts)
	case 1:
		n, synced, err = c.m.SyncBatch(parts)
	default:
		n, err = c.m.WriteBatch(parts)
	}
	for i, p := range parts {
		if i >= n && err == nil {
			_, err = c.m.WriteAt(p.P, p.Off)
		}
		first, n := int(p.Off/device.SectorSize), len(p.P)/device.SectorSize
		c.touch(first, n)
		c.model.wrote(first, n, versions[i], err == nil)
	}
	if synced {
		c.model.flushed()
	}
	return nil
}

// ringWrite writes some sectors as a batch.
func (c *crash) ringWrite(first, n int) {
	version, p := c.model.bytes(n)
	done, err := c.m.WriteBatch([]device.Part{{P: p, Off: int64(first) * device.SectorSize}})
	c.touch(first, n)
	c.model.wrote(first, n, version, done == 1 && err == nil)
}

// ringSync does the same and has it flushed at once.
func (c *crash) ringSync(first, n int) {
	version, p := c.model.bytes(n)
	done, synced, err := c.m.SyncBatch([]device.Part{{P: p, Off: int64(first) * device.SectorSize}})
	c.touch(first, n)
	c.model.wrote(first, n, version, done == 1 && err == nil)
	if synced {
		c.model.flushed()
	}
}

// scatter writes two whole blocks, and a part of a third between them.
func (c *crash) scatter() {
	var parts []device.Part
	var versions []uint64
	for _, at := range [][2]int{{8, 8}, {17, 3}, {64, 8}} {
		version, p := c.model.bytes(at[1])
		parts = append(parts, device.Part{P: p, Off: int64(at[0]) * device.SectorSize})
		versions = append(versions, version)
	}
	err := c.m.WriteScattered(parts)
	for i, p := range parts {
		first, n := int(p.Off/device.SectorSize), len(p.P)/device.SectorSize
		c.touch(first, n)
		c.model.wrote(first, n, versions[i], err == nil)
	}
}

// sumsOf returns the sums of whole blocks.
func sumsOf(p []byte) (sums []uint32) {
	for ; len(p) > 0; p = p[BlockSize:] {
		sums = append(sums, guard.Sum(p[:BlockSize]))
	}
	return sums
}

// forced sees what becomes of one leg in sync if somebody does without all others:
// it has everything that was acknowledged.
func (c *crash) forced() error {
	given := listed(c.known())
	var top *ondisk.Superblock
	for _, d := range given {
		if cs := ondisk.ReadCopies(kept{d}); top == nil || cs.Best() != nil && cs.Best().Generation > top.Generation {
			top = cs.Best()
		}
	}
	d := given[c.rng.IntN(len(given))]
	cs := ondisk.ReadCopies(kept{d})
	one := c.alone()
	one.life = false
	sb := cs.Best()
	if sb == nil || !top.Lists(sb) || top.Members[sb.Index].State != InSync {
		return nil
	}
	for _, v := range sb.Members {
		if v.Leg != sb.Leg && v.State != Removed {
			one.without = append(one.without, v.Leg.String())
		}
	}
	on := new(powercut.Supply)
	d.Survivor(on, c.rng, powercut.Nothing)
	if err := one.recover(on.Disks()); err != nil {
		return fmt.Errorf("with leg %s, forced: %w", d.Name(), err)
	}
	return nil
}
