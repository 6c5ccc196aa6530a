//go:build explore

package scenario

import "holdfast.dev/holdfast/explore"

// "When a page transitions from dirty to writeback we need to unmap any writable mappings
// on the page, and then any new modifications need to block waiting for page writeback to
// complete. [...] Write protect and checksum the destination page after every store? Or
// leave some window?" The guard goes with the page to a device that checks it. Taken
// before write access is taken away it is of bytes that a store has changed since: the
// device then accuses a page with which nothing is wrong.
var (
	guard2010      = guardWhileStored("guard-2010", false)
	guard2010Async = guardWhileStored("guard-2010-async", true)
)

func guardWhileStored(name string, async bool) *explore.Scenario {
	return scenario(name,
		"A mapped page is stored to while its guard is taken, and the device checks it (2010).",
		plan{pages: 2},
		func(h *house) {
			var program *process
			h.x.Calm(func() {
				program = h.process(async)
				h.failed("a store", program.store(8, 8, 'A'))
			})
			h.x.Together(
				explore.Task{Name: "program", Do: func() {
					h.failed("a store", program.store(8, 8, 'B'))
					h.failed("a store", program.store(10, 1, 'C'))
				}},
				explore.Task{Name: "syncer", Do: h.mustSync},
			)
			h.x.Calm(func() {
				program.load(1)
				h.settled()
				h.crash()
			})
		})
}
