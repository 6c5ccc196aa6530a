//go:build explore

package scenario

import "holdfast.dev/holdfast/explore"

// A clean page is about to leave memory when somebody writes to it: reclaim decides by
// what the page is when nobody else has it, not by what it was when it was chosen.
var reclaimed = scenario("reclaimed",
	"A page is written to and read while reclaim drops it.",
	plan{pages: 2},
	func(h *house) {
		h.write(1, 'A')
		h.x.Calm(h.mustSync)
		h.x.Together(
			explore.Task{Name: "reclaim", Do: h.reclaim},
			explore.Task{Name: "program", Do: func() {
				h.writeSectors(8, 2, 'B')
				h.read(1)
			}},
		)
		h.x.Calm(func() {
			h.read(1)
			h.settled()
			h.crash()
		})
	})
