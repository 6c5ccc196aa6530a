//go:build explore

package scenario

import "holdfast.dev/holdfast/explore"

// A program stores to a page while it is written to a mirror: one leg gets the old
// bytes and the other the new. The page is dirty again, so all would be well in the
// end, if the power held. But the write has ended, and as far as the mirror can see
// the region is at rest. If it clears the region's bit then, or when a while has
// passed, nobody makes the legs equal after the crash; and a reader gets now the one
// and now the other.
//
// So the helper asks: it has the page written out, and clears the bit only if the page
// is not dirty then.
var region2008 = scenario("region-2008",
	"A page is stored to while it is written to both legs, and the power fails (dm-raid1, 2008).",
	plan{legs: 2, pages: 4, bare: true},
	func(h *house) {
		c := h.client(1)
		c.store('A')
		h.x.Together(
			explore.Task{Name: "flusher", Do: func() { h.failed("a write-out", c.writeOut()) }},
			explore.Task{Name: "program", Do: func() { c.store('B') }},
			explore.Task{Name: "helper", Do: func() { h.cycle(); h.cycle() }},
		)
		h.crash()
	})
