//go:build explore

package scenario

import "holdfast.dev/holdfast/explore"

// The disk fails once, in a write or in a flush, whoever's it is. A program whose sync
// says so syncs again, as people did who found in 2018 that Linux had marked the page
// clean by then: its second sync had nothing to write, and said yes.
var failed2018 = scenario("failed-2018",
	"A write-out or a flush fails; the program syncs until it is told yes (fsync, 2018).",
	plan{pages: 2, faults: true},
	func(h *house) {
		h.write(1, 'A')
		h.x.Together(
			explore.Task{Name: "flusher", Do: h.cache.Tick},
			explore.Task{Name: "program", Do: func() {
				for range 4 {
					if h.sync() == nil {
						return
					}
				}
				h.x.Fail("a sync fails again and again, and the disk failed once")
			}},
		)
		h.crash()
	})
