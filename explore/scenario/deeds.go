//go:build explore

package scenario

import (
	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/explore"
)

// reclaim has the cache drop pages that can leave.
func (h *house) reclaim() {
	n := h.cache.Reclaim(h.o.pages)
	h.x.Note("reclaims %d pages", n)
}

// discard discards a page.
func (h *house) discard(page int64) {
	ack := h.begin(page*sectorsPerPage, sectorsPerPage, 0)
	h.x.Note("discards page %d", page)
	if err := h.vol.Discard(page*cache.PageSize, cache.PageSize); err != nil {
		h.x.Note("  the discard fails")
		h.failedUnlessFaulted("a discard", err)
		return
	}
	ack()
	h.x.Note("  discarded")
}

// Discard implements device.Device. Where it fails the cache has dropped what was not
// durable.
func (o *owner) Discard(off, n int64) error {
	err := o.Device.Discard(off, n)
	if err != nil {
		o.h.unsettle(off/device.SectorSize, n/device.SectorSize)
	}
	return err
}

// unsettle notes that of some sectors nothing is certain but what is durable.
func (m *model) unsettle(sector, count int64) {
	for s := sector; s < sector+count; s++ {
		for _, w := range m.at(s).writes {
			if !w.durable {
				w.acked = never
			}
		}
	}
}

// failedUnlessFaulted is failed for what may fail if a disk does.
func (h *house) failedUnlessFaulted(what string, err error) {
	if !h.faulted {
		h.failed(what, err)
	}
}

// writeOut writes a page out without a flush, as a writer does who keeps an order of
// his own.
func (h *house) writeOut(page int64) {
	h.x.Note("writes page %d out", page)
	h.failedUnlessFaulted("a write-out", h.mapping.SyncRange(page*cache.PageSize, cache.PageSize))
}

// powerFails cuts the power, whoever is doing what.
func (h *house) powerFails() {
	h.x.Note("the power fails")
	h.x.Touch(explore.Disks)
	h.supply.Cut()
}

// settled syncs until that succeeds, and checks what is in memory, what is on the
// disk, and what the owner has agreed to: with nothing going on they agree.
func (h *house) settled() {
	for range 3 {
		if h.sync() == nil {
			break
		}
	}
	h.mustSync()
	if len(h.owner.reserved) > 0 {
		h.x.Fail("H8: %d pages are clean, and their owner has not been let go", len(h.owner.reserved))
	}
	p, q := make([]byte, cache.PageSize), make([]byte, cache.PageSize)
	for page := range h.mapping.Size() / cache.PageSize {
		_, err := h.vol.ReadAt(p, page*cache.PageSize)
		h.failed("a read", err)
		_, err = h.owner.ReadAt(q, page*cache.PageSize)
		h.failed("a read", err)
		for s := range int64(sectorsPerPage) {
			if a, b := p[s*device.SectorSize], q[s*device.SectorSize]; a != b {
				h.x.Fail("H7: memory has %s in sector %d, which is clean, and the disk %s", name(a), page*sectorsPerPage+s, name(b))
			}
		}
		h.read(page)
	}
}
