//go:build explore

package scenario

import (
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
}

// crash cuts the power, if that has not happened yet, and opens what is left, as often
// as the power fails in that. Then it checks everything. It comes when all other
// tasks have ended.
func (h *house) crash() {
	if !h.supply.Lost() {
		h.supply.Cut()
		h.x.Note("the power fails")
	}
	for {
		h.x.Calm(h.abandon)
		how := left[h.x.Choose(explore.Data, len(left))]
		h.plugIn(h.disks, func(i int) powercut.Mode { return how[i%2] })
		h.x.Note("the power is back; what was not flushed: %s", remains(how))
		err := h.open()
		if err == nil && h.mirror != nil {
			err = h.resync()
		}
		if h.supply.Lost() {
			continue
		}
		h.failed("recovery", err)
		h.x.Calm(h.check)
		return
	}
}

func remains(how [2]powercut.Mode) string {
	words := map[powercut.Mode]string{powercut.Nothing: "gone", powercut.Everything: "there", powercut.Writes: "some writes there", powercut.Sectors: "some sectors there"}
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

func (h *house) resync() error {
	for h.mirror.ResyncStep() {
	}
	return nil
}

// check compares what is read with what survived, and the legs with each other.
func (h *house) check() {
	p := make([]byte, h.o.pages*cache.PageSize)
	if _, err := h.vol.ReadAt(p, 0); err != nil {
		h.x.Fail("after the crash: %v", err)
	}
	for s := range h.o.pages * sectorsPerPage {
		h.checkSector(p[s*device.SectorSize:][:device.SectorSize], s, h.survived)
	}
	if h.mirror != nil {
		h.checkLegs()
	}
}

// checkLegs has the closed legs compared with each other and with their guards.
func (h *house) checkLegs() {
	for _, l := range h.mirror.Status().Legs {
		if l.LegErrors != (mirror.LegErrors{}) {
			h.x.Fail("H5: %s is charged with errors: %+v", l.Name, l.LegErrors)
		}
	}
	must(h.cache.Close())
	must(h.mirror.Close())
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
