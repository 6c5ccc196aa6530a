//go:build explore

package scenario

import (
	"fmt"
	"sync"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/device/powercut"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/mirror"
)

// site is what decides how a base is made.
type site struct {
	legs  int
	pages int64
	ring  int64
	bare  bool
}

// bases are disks that all executions of a scenario begin with, made before the first.
var bases sync.Map // site: []*powercut.Disk

func (o plan) site() site { return site{o.legs, o.pages, o.ring, o.bare} }

// prepare makes the base of a plan.
func prepare(o plan) func() {
	return func() {
		if _, ok := bases.Load(o.site()); !ok {
			bases.Store(o.site(), makeBase(o))
		}
	}
}

func baseOf(o plan) []*powercut.Disk {
	b, ok := bases.Load(o.site())
	if !ok {
		panic("scenario: the plan was not prepared")
	}
	return b.([]*powercut.Disk)
}

func makeBase(o plan) (disks []*powercut.Disk) {
	supply := new(powercut.Supply)
	size := o.pages * cache.PageSize
	if o.legs == 0 {
		return []*powercut.Disk{supply.NewDisk("disk", size)}
	}
	var legs []mirror.Leg
	for i := range o.legs {
		d := supply.NewDisk(fmt.Sprintf("leg %d", i), mirror.LegSizeWith(size, o.ring))
		disks = append(disks, d)
		legs = append(legs, mirror.Leg{Name: d.Name(), Dev: d})
	}
	ring := o.ring
	if ring == 0 {
		ring = mirror.NoJournal
	}
	kind := guard.CRC32C
	if o.bare {
		kind = guard.None
	}
	must(mirror.Format(legs, mirror.FormatOptions{Size: size, RegionSize: regionSize, Guards: kind, Journal: ring}))
	m, err := mirror.Open(legs, mirror.Options{Manual: true})
	must(err)
	for m.ResyncStep() {
	}
	must(m.Close())
	return disks
}

// must is for what cannot fail: simulated disks without faults.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
