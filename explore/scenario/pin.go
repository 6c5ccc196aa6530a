//go:build explore

package scenario

import (
	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/internal/seam"
)

// pinned is who has a page pinned to write, and stores to its frame when he likes.
type pinned struct {
	h    *house
	page int64
	pin  *cache.Pin
}

// pin pins a page to write.
func (h *house) pin(page int64) *pinned {
	p, err := h.vol.Pin(page*cache.PageSize, cache.PageSize, cache.PinWrite)
	if err != nil {
		h.x.Fail("a pin: %v", err)
	}
	h.x.Note("pins page %d", page)
	return &pinned{h, page, &p}
}

// store stores a version to the whole page.
func (p *pinned) store(version byte) {
	seam.Point("process.store", uint64(p.page))
	p.h.begin(p.page*sectorsPerPage, sectorsPerPage, version)()
	p.h.x.Note("stores %s to page %d", name(version), p.page)
	copy(p.pin.Bytes(), fill(version, sectorsPerPage))
}

// release ends the pin.
func (p *pinned) release() {
	p.h.x.Note("ends the pin of page %d", p.page)
	p.pin.Release()
}
