//go:build explore

package scenario

import (
	"fmt"
	"log/slog"
	"math/rand/v2"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/powercut"
	"holdfast.dev/holdfast/explore"
	"holdfast.dev/holdfast/mirror"
)

// plan says what a house is built with. Two plans that are equal have the same base.
type plan struct {
	// legs is how many the mirror has; 0 is a single disk without a mirror.
	legs  int
	pages int64
	// ring is the size of the journal in bytes, 0 none; policy that of the region log.
	ring      int64
	policy    mirror.Policy
	journal   mirror.JournalMode
	stability cache.Stability
	// dirty is the limit of dirty pages in bytes, 0 the usual.
	dirty int64
	// bare is without guards.
	bare bool
	// volumes says that what is written goes to volumes, wherever those lie.
	volumes bool
	// cuts and faults say whether the explorer may choose them, and again whether the
	// power may fail once more while what is left is recovered.
	cuts, faults, again bool
	// less is with how many preemptions fewer than others the story is tried.
	less int
}

const (
	sectorsPerPage = cache.PageSize / device.SectorSize
	// regionSize is the smallest that there is: 16 pages.
	regionSize = 64 << 10
	// threeRegions is so many pages that two regions can be written to, of which one
	// has page 1 and the next farPage, and the third need not.
	threeRegions = 36
	farPage      = 17
)

// house is Holdfast without a door: what a scenario uses, and checks.
type house struct {
	x *explore.Execution
	o plan
	*model

	supply *powercut.Supply
	disks  []*powercut.Disk
	mirror *mirror.Mirror
	cache  *cache.Cache
	// mapping is the cache of all that the mirror or the disk has, and vol a handle.
	mapping *cache.Mapping
	vol     *cache.Handle
	owner   *owner
	// faulted says that an operation of a disk has failed.
	faulted bool
	// away says that a leg was taken out of use.
	away bool
	// without are legs that are lost for good.
	without []string
	// crashes is how often the power has gone.
	crashes int
	// told says that the story has come to its end.
	told bool
}

var quiet = slog.New(slog.DiscardHandler)

// build builds a house on disks that hold zeros.
func build(x *explore.Execution, o plan) *house {
	h := &house{x: x, o: o, model: newModel(func() { x.Touch("model") })}
	x.Calm(func() {
		h.plugIn(baseOf(o), func(int) powercut.Mode { return powercut.Nothing })
		if err := h.open(); err != nil {
			x.Fail("the house cannot be opened: %v", err)
		}
	})
	return h
}

// plugIn puts what is left of disks on a power supply of their own.
func (h *house) plugIn(disks []*powercut.Disk, how func(disk int) powercut.Mode) {
	h.supply, h.disks = new(powercut.Supply), nil
	for i, d := range disks {
		rng := rand.New(rand.NewPCG(1, uint64(i)))
		h.disks = append(h.disks, d.Survivor(h.supply, rng, how(i)))
	}
}

// open opens what is on the disks.
func (h *house) open() (err error) {
	var below device.Device = mains{h.disks[0], h}
	if h.o.legs > 0 {
		h.mirror, err = mirror.Open(h.legs(), mirror.Options{Manual: true, Log: quiet, Policy: h.o.policy, Journal: h.o.journal, Without: h.without})
		if err != nil {
			h.mirror = nil
			return err
		}
		below = h.mirror
	}
	h.cache, err = cache.New(cache.Options{Manual: true, Budget: cache.MinBudget, DirtyLimit: h.o.dirty, Background: 1, Log: quiet})
	if err != nil {
		return err
	}
	c := h.cache
	h.x.AtEnd(func() {
		if h.told { // otherwise there are calls that never return
			c.Abandon()
		}
	})
	h.owner = newOwner(h, below)
	if h.mapping, err = h.cache.Map(h.owner, cache.MappingOptions{Name: "vol", Stability: h.o.stability}); err != nil {
		return err
	}
	if h.mirror != nil {
		h.mirror.SetOwner(h.mapping)
	}
	h.vol, err = h.mapping.Open()
	return err
}

func (h *house) legs() (legs []mirror.Leg) {
	for _, d := range h.disks {
		legs = append(legs, mirror.Leg{Name: d.Name(), Dev: mains{d, h}})
	}
	return legs
}

// failed ends the execution with an error that should not have been, unless it comes
// of a power cut.
func (h *house) failed(what string, err error) {
	if err != nil && !h.supply.Lost() {
		h.x.Fail("%s: %v", what, err)
	}
}

// fill is what a sector of a version holds.
func fill(version byte, sectors int64) []byte {
	p := make([]byte, sectors*device.SectorSize)
	for i := range p {
		p[i] = version
	}
	return p
}

// write writes a version to a whole page.
func (h *house) write(page int64, version byte) {
	h.writeSectors(page*sectorsPerPage, sectorsPerPage, version)
}

// writeSectors writes a version to some sectors.
func (h *house) writeSectors(sector, count int64, version byte) {
	ack := h.begin(sector, count, version)
	h.x.Note("writes %s to %s", name(version), place(sector, count))
	if _, err := h.vol.WriteAt(fill(version, count), sector*device.SectorSize); err != nil {
		h.failed("a write", err)
		return
	}
	ack()
	h.x.Note("  written")
}

func place(sector, count int64) string {
	if sector%sectorsPerPage == 0 && count == sectorsPerPage {
		return fmt.Sprintf("page %d", sector/sectorsPerPage)
	}
	return fmt.Sprintf("sectors %d to %d", sector, sector+count-1)
}

// sync syncs everything.
func (h *house) sync() error {
	done := h.beginSync(0, h.o.pages*sectorsPerPage)
	h.x.Note("syncs")
	err := h.vol.Sync()
	if err == nil {
		done()
		h.x.Note("  synced")
	} else {
		h.x.Note("  the sync fails")
	}
	return err
}

// mustSync syncs, and nothing may fail but the power.
func (h *house) mustSync() { h.failed("a sync", h.sync()) }

// read reads a page and checks it.
func (h *house) read(page int64) {
	began := h.tick()
	p := make([]byte, cache.PageSize)
	if _, err := h.vol.ReadAt(p, page*cache.PageSize); err != nil {
		h.failed("a read", err)
		return
	}
	h.checkPage(p, page, began)
}

// checkPage checks what a read found that began at some tick.
func (h *house) checkPage(p []byte, page int64, began int) {
	for s := range int64(sectorsPerPage) {
		h.checkSector(p[s*device.SectorSize:][:device.SectorSize], page*sectorsPerPage+s, func(sector int64, version byte) error {
			return h.mayRead(sector, version, began)
		})
	}
}

func (h *house) checkSector(p []byte, sector int64, check func(sector int64, version byte) error) {
	for _, b := range p {
		if b != p[0] {
			h.x.Fail("H2: sector %d is a mix of %s and %s", sector, name(p[0]), name(b))
		}
	}
	if err := check(sector, p[0]); err != nil {
		h.x.Fail("%v", err)
	}
}
