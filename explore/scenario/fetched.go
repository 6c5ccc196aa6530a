//go:build explore

package scenario

import (
	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/explore"
)

// Several absent pages are read with one read of the legs, by who holds all of them
// meanwhile. Two who want the same pages, in another order, wait for nothing that the
// other has.
var fetchedTwice = scenario("fetched-twice",
	"Two programs read the same absent pages together, each in an order of its own.",
	plan{legs: 2, pages: 4},
	func(h *house) {
		h.absent(1, 3)
		h.x.Together(
			explore.Task{Name: "program", Do: func() { h.readTogether(1, 3) }},
			explore.Task{Name: "other", Do: func() { h.readTogether(3, 1) }},
		)
		h.x.Calm(h.settled)
	})

// What was written to or discarded while they are read is not undone by what the legs
// held before.
var fetchedBeside = scenario("fetched-beside",
	"Absent pages are read together while one is written to in part and another is discarded.",
	plan{legs: 2, pages: 4},
	func(h *house) {
		h.absent(1, 3)
		h.x.Together(
			explore.Task{Name: "reader", Do: func() { h.readTogether(1, 3) }},
			explore.Task{Name: "program", Do: func() {
				h.discard(3)
				h.writeSectors(8, 2, 'B')
				h.readTogether(3, 1)
			}},
		)
		h.x.Calm(func() {
			h.readTogether(1, 3)
			h.settled()
			h.crash()
		})
	})

// absent has pages written, and not in memory any more.
func (h *house) absent(pages ...int64) {
	h.x.Calm(func() {
		for i, n := range pages {
			h.write(n, 'a'+byte(i))
		}
		h.mustSync()
		h.reclaim()
	})
}

// readTogether reads pages with one call, and checks them.
func (h *house) readTogether(pages ...int64) {
	began := h.tick()
	var parts []device.Part
	for _, n := range pages {
		parts = append(parts, device.Part{P: make([]byte, cache.PageSize), Off: n * cache.PageSize})
	}
	if err := h.vol.ReadScattered(parts); err != nil {
		h.failed("a scattered read", err)
		return
	}
	for i, n := range pages {
		h.checkPage(parts[i].P, n, began)
	}
}
