//go:build explore

package scenario

import (
	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/explore"
)

// A program stores to its mapping without announcing it, and somebody else takes the page
// away: for good, or out of memory to be read again; or he holds on to it, or writes to it
// himself. Then he syncs. The disk may fail once. What was stored last is found by
// somebody, in the page table, in the page, or in the pipe that the page leaves by.
func mappedAsync(name string, policy cache.Stability, faults bool, other func(h *house)) *explore.Scenario {
	return scenario(name,
		"Stores that nobody announces meet a sync, and one who takes the page away.",
		plan{pages: 2, stability: policy, faults: faults},
		func(h *house) {
			var program *process
			h.write(1, 'A')
			h.x.Calm(func() {
				h.mustSync()
				program = h.process(true)
				program.load(1)
			})
			h.x.Together(
				explore.Task{Name: "program", Do: func() {
					h.failedUnlessFaulted("a store", program.store(8, 2, 'B'))
					h.failedUnlessFaulted("a store", program.store(10, 2, 'C'))
				}},
				explore.Task{Name: "other", Do: func() {
					other(h)
					h.failedUnlessFaulted("a sync", h.sync())
				}},
			)
			h.x.Calm(func() {
				program.load(1)
				h.settled()
				h.crash()
			})
		})
}

var (
	asyncReclaimed = mappedAsync("async-reclaimed", cache.StabilityCopy, true, (*house).reclaim)
	asyncDiscarded = mappedAsync("async-discarded", cache.StabilityCopy, true, func(h *house) { h.discard(1) })
	asyncPinned    = mappedAsync("async-pinned", cache.StabilityWait, false, func(h *house) { h.holdsOn(1, 'P') })
	asyncWritten   = mappedAsync("async-written", cache.StabilityWait, false, func(h *house) { h.writeSectors(12, 2, 'W') })
)

// holdsOn pins a page and stores to it.
func (h *house) holdsOn(page int64, version byte) {
	pin, err := h.vol.Pin(page*cache.PageSize, cache.PageSize, cache.PinWrite)
	if err != nil {
		h.failedUnlessFaulted("a pin", err)
		return
	}
	h.x.Note("pins page %d and stores %s to sector 12", page, name(version))
	h.begin(12, 1, version)()
	copy(pin.Bytes()[4*512:], fill(version, 1))
	h.x.Note("  releases it")
	pin.Release()
}
