//go:build explore

package scenario

import "holdfast.dev/holdfast/explore"

// Two programs each write a page and sync, at the same time. Their walks meet the same
// tags, each may find the other's page under way, and they share flushes: but a flush
// that had begun before a page was written does not count for it. As soon as one of
// them has been told yes the power fails.
var twoSyncs = scenario("two-syncs",
	"Two programs write and sync; their walks and flushes meet.",
	plan{pages: 2},
	func(h *house) {
		program := func(page int64, version byte) func() {
			return func() {
				h.write(page, version)
				h.mustSync()
				h.powerFails()
			}
		}
		h.x.Together(
			explore.Task{Name: "program", Do: program(0, 'A')},
			explore.Task{Name: "neighbour", Do: program(1, 'B')},
		)
		h.crash()
	})
