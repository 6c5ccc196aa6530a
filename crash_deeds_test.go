package holdfast

import (
	"errors"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/device"
)

// step does one random operation.
func (c *crash) step() error {
	first := c.rng.IntN(crashSectors)
	if c.rng.IntN(3) > 0 {
		first = c.rng.IntN(128) // a hot region, written again and again
	}
	n := min(1+c.rng.IntN(24), crashSectors-first)
	switch c.rng.IntN(19) {
	default:
		return c.change(first, n, c.write)
	case 0:
		return c.change(first, min(4*n, crashSectors-first), c.discard)
	case 1:
		return c.change(first, min(4*n, crashSectors-first), c.writeZeroes)
	case 2:
		if err := c.vol.Sync(); err != nil {
			return err
		}
		c.durable(0, crashSectors)
	case 3:
		return c.syncRange(first, n)
	case 4, 5:
		c.floors.cache.Tick()
	case 6:
		return c.floors.mirror.Cycle()
	case 7:
		c.floors.mirror.ResyncStep()
	case 8, 9:
		return c.store(n)
	case 10, 11:
		return c.holdSome(first, n)
	case 18:
		return c.floors.mirror.Checkpoint()
	case 12:
		if c.rng.IntN(4) == 0 {
			return c.restart()
		}
		return c.compare(false)
	}
	return nil
}

func (c *crash) write(first, n int) error {
	c.version++
	p := make([]byte, n*device.SectorSize)
	for i := range n {
		crashStamp(p[i*device.SectorSize:][:device.SectorSize], first+i, c.version)
	}
	c.wrote(first, n, c.version)
	_, err := c.vol.WriteAt(p, int64(first)*device.SectorSize)
	return err
}

func (c *crash) discard(first, n int) error {
	c.wrote(first, n, 0)
	return c.vol.Discard(int64(first)*device.SectorSize, int64(n)*device.SectorSize)
}

func (c *crash) writeZeroes(first, n int) error {
	c.wrote(first, n, 0)
	return c.vol.WriteZeroes(int64(first)*device.SectorSize, int64(n)*device.SectorSize)
}

// change changes a range, and sometimes makes it durable before anything else
// (FUA).
func (c *crash) change(first, n int, how func(first, n int) error) error {
	if c.meetsHeld(first, n) {
		return nil // it would be refused, after a part
	}
	if err := how(first, n); err != nil || c.rng.IntN(6) > 0 {
		return err
	}
	return c.syncRange(first, n)
}

// meetsHeld says whether a page of the sectors is held.
func (c *crash) meetsHeld(first, n int) bool {
	const perPage = cache.PageSize / device.SectorSize
	for i := first / perPage * perPage; i < first+n+perPage-1 && len(c.held) > 0; i++ {
		if c.held[i] {
			return true
		}
	}
	return false
}

func (c *crash) syncRange(first, n int) error {
	if err := c.vol.SyncRange(int64(first)*device.SectorSize, int64(n)*device.SectorSize); err != nil {
		return err
	}
	c.durable(first, n)
	return nil
}

// store pins the first pages, or stores to them through the pin, or lets go.
func (c *crash) store(n int) error {
	switch {
	case c.pin == nil:
		c.touched[0] = true // it is written out, stored to or not
		pin, err := c.vol.Pin(0, int64(n)*device.SectorSize, cache.PinWrite)
		switch {
		case err == nil:
			c.pin = &pin
		case !errors.Is(err, cache.ErrHeld) && !errors.Is(err, cache.ErrTooManyPins):
			return err
		}
	case c.rng.IntN(4) == 0:
		c.pin.Release()
		c.pin = nil
	default:
		p := c.pin.Bytes()
		c.version++
		for i := range len(p) / device.SectorSize {
			crashStamp(p[i*device.SectorSize:][:device.SectorSize], i, c.version)
		}
		c.wrote(0, len(p)/device.SectorSize, c.version)
	}
	return nil
}

// holdSome writes as a group that is held, and releases it at another time.
func (c *crash) holdSome(first, n int) (err error) {
	if c.hold != nil {
		c.hold.Release()
		c.hold, c.held = nil, map[int]bool{}
		return nil
	}
	if c.hold, err = c.vol.Hold(); err != nil {
		return err
	}
	c.version++
	for i := first; i < first+n; i++ {
		p := make([]byte, device.SectorSize)
		crashStamp(p, i, c.version)
		_, err := c.hold.WriteAt(p, int64(i)*device.SectorSize)
		if errors.Is(err, cache.ErrPinned) || errors.Is(err, cache.ErrHoldsFull) {
			return nil
		}
		c.wrote(i, 1, c.version)
		if err != nil {
			return err
		}
		c.held[i] = true
	}
	return nil
}

// letGo releases what is pinned and held.
func (c *crash) letGo() {
	if c.pin != nil {
		c.pin.Release()
	}
	if c.hold != nil {
		c.hold.Release()
	}
	c.pin, c.hold, c.held = nil, nil, map[int]bool{}
}

func (c *crash) wrote(first, n int, version uint64) {
	for i := first; i < first+n; i++ {
		c.history[i] = append(c.history[i], version)
		c.touched[int64(i)*device.SectorSize/crashRegion] = true
	}
}

func (c *crash) durable(first, n int) {
	for i := first; i < first+n; i++ {
		if h := c.history[i]; !c.held[i] {
			c.history[i] = append(h[:0], h[len(h)-1])
		}
	}
}
