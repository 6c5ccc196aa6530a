//go:build explore

package scenario

import (
	"errors"
	"math"
	"slices"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/powercut"
	"holdfast.dev/holdfast/explore"
	"holdfast.dev/holdfast/mirror"
)

// left are states that a cut may leave two disks in, as they are tried: all or nothing
// of what was not durable on either, and some of it.
var left = [][2]powercut.Mode{
	{powercut.Nothing, powercut.Nothing},
	{powercut.Everything, powercut.Everything},
	{powercut.Everything, powercut.Nothing},
	{powercut.Nothing, powercut.Everything},
	{powercut.Writes, powercut.Writes},
	{powercut.Sectors, powercut.Sectors},
	{powercut.Last, powercut.Nothing},
	{powercut.Nothing, powercut.Last},
	{powercut.Last, powercut.Last},
}

// ways are those of left that differ, as little as the disks have that is not durable.
func (h *house) ways() (ways [][2]powercut.Mode) {
	for _, how := range left {
		for i := range how {
			how[i] = same(how[i], h.disks[i%len(h.disks)].Unsettled())
		}
		if !slices.Contains(ways, how) {
			ways = append(ways, how)
		}
	}
	return ways
}

// same is the simplest mode that leaves a disk as the mode given does, with so many
// versions that are not durable.
func same(how powercut.Mode, versions int) powercut.Mode {
	switch {
	case versions == 0:
		return powercut.Nothing
	case versions == 1 && (how == powercut.Last || how == powercut.Writes):
		return powercut.Everything
	}
	return how
}

// crash cuts the power, if that has not happened yet, and opens what is left, as often
// as the power fails in that. Then it checks everything. It comes when all other
// tasks have ended.
func (h *house) crash() { h.crashAnd(h.readAll) }

// crashAnd does the same with a look at what there is of the scenario's own.
func (h *house) crashAnd(look func()) {
	if h.mirror != nil {
		h.checkCharges()
	}
	if !h.supply.Lost() {
		h.supply.Cut()
		h.x.Note("the power fails")
	}
	for {
		h.crashes++
		h.x.Calm(h.abandon)
		ways := h.ways()
		how := ways[h.x.Choose(explore.Data, len(ways))]
		h.plugIn(h.disks, func(i int) powercut.Mode { return how[i%2] })
		h.x.Note("the power is back; what was not flushed: %s", remains(how))
		err := h.open()
		if err == nil && h.mirror != nil {
			h.recover()
		}
		if h.faulted && errors.Is(err, mirror.ErrMissing) {
			// A leg that fails while the pool is opened may have to be done without, and
			// only a person can say that; or he tries again.
			h.x.Note("the pool is not opened")
			h.supply.Cut()
		}
		if h.supply.Lost() {
			continue
		}
		h.failed("recovery", err)
		h.x.Calm(func() {
			if h.mirror != nil && len(h.without) == 0 && (h.faulted || h.away) {
				h.attachFailed()
			}
			look()
			if h.mirror != nil {
				h.checkLegs()
			}
		})
		return
	}
}

// leftOnFirst is all of what was not durable there on one leg, and nothing on the other.
var leftOnFirst = [2]powercut.Mode{powercut.Everything, powercut.Nothing}

// crashInto cuts the power and opens what is left, without a look at it.
func (h *house) crashInto(how [2]powercut.Mode) {
	h.supply.Cut()
	h.abandon()
	h.plugIn(h.disks, func(i int) powercut.Mode { return how[i%2] })
	h.x.Note("the power was cut; what was not flushed: %s", remains(how))
	h.failed("recovery", h.open())
}

func remains(how [2]powercut.Mode) string {
	words := map[powercut.Mode]string{powercut.Nothing: "gone", powercut.Everything: "there", powercut.Writes: "some writes there", powercut.Sectors: "some sectors there", powercut.Last: "the last write there"}
	if how[0] == how[1] {
		return words[how[0]]
	}
	return words[how[0]] + " on one, " + words[how[1]] + " on the other"
}

func (h *house) abandon() {
	if h.cache != nil {
		_ = h.cache.Abandon() // what cannot be given back now is at the end
	}
	if h.mirror != nil {
		h.mirror.Abandon()
	}
	h.cache, h.mirror = nil, nil
}

// recover makes the legs equal after a crash, which has to do with no region that was
// never written to.
func (h *house) recover() {
	left := h.mirror.Status().Resync.RegionsLeft
	if most := h.regionsTouched(); left > most {
		h.x.Fail("H4: %d regions await resync, and %d were ever written to", left, most)
	}
	h.resync()
	if read := h.mirror.Status().Resync.BytesRead; int64(read) > left*regionSize*int64(len(h.disks)) {
		h.x.Fail("H4: resync has read %d bytes for %d regions on %d legs", read, left, len(h.disks))
	}
}

// regionsTouched is how many regions anything was ever written to, as far as that can
// be told.
func (h *house) regionsTouched() int64 {
	if h.o.volumes {
		return math.MaxInt64
	}
	return int64(h.touched(regionSize / device.SectorSize))
}

func (h *house) resync() {
	for h.mirror.ResyncStep() {
	}
}

// readAll compares what is read with what survived.
func (h *house) readAll() {
	p := make([]byte, h.o.pages*cache.PageSize)
	if _, err := h.vol.ReadAt(p, 0); err != nil {
		h.x.Fail("after the crash: %v", err)
	}
	for s := range h.o.pages * sectorsPerPage {
		h.checkSector(p[s*device.SectorSize:][:device.SectorSize], s, h.survived)
	}
}

// checkCharges sees that no leg is charged with what it has not done.
func (h *house) checkCharges() {
	for _, l := range h.mirror.Status().Legs {
		if l.ChecksumErrors > 0 || l.LegErrors != (mirror.LegErrors{}) && !h.faulted && !h.supply.Lost() {
			h.x.Fail("H5: %s is charged with errors: %+v", l.Name, l.LegErrors)
		}
	}
}

// checkLegs has the closed legs compared with each other and with their guards.
func (h *house) checkLegs() {
	h.checkCharges()
	if len(h.without) > 0 {
		return // one is left, and nothing to compare it with
	}
	must(h.cache.Close()) // and with it the mirror
	h.cache, h.mirror = nil, nil
	var legs []mirror.Leg
	for _, d := range h.disks {
		legs = append(legs, mirror.Leg{Name: d.Name(), Dev: d.Survivor(new(powercut.Supply), nil, powercut.Nothing)})
	}
	r, err := mirror.Check(legs)
	must(err)
	if !r.Sound() {
		h.x.Fail("H3: the legs are not sound: %v", r.Problems)
	}
}
