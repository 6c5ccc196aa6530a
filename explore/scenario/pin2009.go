//go:build explore

package scenario

import "holdfast.dev/holdfast/explore"

// Somebody has pinned a page, as get_user_pages does, and stores to it when he likes:
// before, while and after it is written out, without a word. So it is never clean
// while he has it, a sync makes durable what it holds when it comes by, and what both
// legs get is a snapshot; and its region is not at rest.
var pin2009 = scenario("pin-2009",
	"The holder of a pin stores to a page that was written out, and while it is (get_user_pages, 2009).",
	plan{legs: 2, pages: 4},
	func(h *house) {
		h.write(1, 'A')
		p := h.pin(1)
		h.mustSync()
		h.x.Together(
			explore.Task{Name: "holder", Do: func() { p.store('B'); p.store('C'); p.release() }},
			explore.Task{Name: "program", Do: func() { h.mustSync(); h.cycle() }},
		)
		h.crash()
	})
