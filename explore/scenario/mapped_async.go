//go:build explore

package scenario

import (
	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/explore"
)

// A program stores to its mapping without announcing it, a syncer asks what was stored
// and has it written out, and a third takes the page away from both: for good, or out of
// memory to be read again, or he holds on to it, or writes to it himself. The disk may
// fail once. What was stored last is found by somebody, in the page table, in the page,
// or in the pipe that the page leaves by.
var (
	asyncReclaimed = mappedAsync("async-reclaimed", cache.StabilityCopy, (*house).reclaim)
	asyncDiscarded = mappedAsync("async-discarded", cache.StabilityCopy, func(h *house) { h.discard(1) })
	asyncPinned    = mappedAsync("async-pinned", cache.StabilityCopy, func(h *house) { h.holdsOn(1, 'P') })
	asyncWritten   = mappedAsync("async-written", cache.StabilityWait, func(h *house) { h.writeSectors(12, 2, 'W') })
)

func mappedAsync(name string, policy cache.Stability, third func(h *house)) *explore.Scenario {
	return scenario(name,
		"Stores that nobody announces meet write-outs, a disk that fails, and one who takes the page away.",
		plan{pages: 2, stability: policy, faults: true},
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
					program.load(1)
					h.failedUnlessFaulted("a store", program.store(10, 2, 'C'))
				}},
				explore.Task{Name: "syncer", Do: func() { h.failedUnlessFaulted("a sync", h.sync()) }},
				explore.Task{Name: "third", Do: func() { third(h) }},
			)
			h.x.Calm(func() {
				program.load(1)
				h.settled()
				h.crash()
			})
		})
}

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
