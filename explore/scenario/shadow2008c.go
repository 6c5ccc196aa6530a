//go:build explore

package scenario

import (
	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/explore"
)

// "A COW bit, to show that there was i/o in flight, and that before modification it
// needed to be copied. Since you don't want to let that recurse, you don't start writing
// the copy until the original is written and freed." A page is written to, twice, while
// it is being written out; a sync must not send the copy after the original, which may
// be faster.
var shadow2008c = scenario("shadow-2008c",
	"A page is written to while it is written out, and the copy is synced (2008).",
	plan{pages: 2, stability: cache.StabilityCopy},
	func(h *house) {
		h.write(1, 'A')
		h.x.Together(
			explore.Task{Name: "flusher", Do: func() { h.writeOut(1) }},
			explore.Task{Name: "program", Do: func() {
				h.write(1, 'B')
				h.writeSectors(8, 1, 'C')
				h.mustSync()
				h.read(1)
			}},
		)
		h.crash()
	})
