//go:build explore

package scenario

import (
	"holdfast.dev/holdfast/explore"
)

// "It is a great shame that filesystems are not properly notified that a page may become
// dirty before the actual set_page_dirty event, which is not allowed to fail and is
// called after the page is already dirty. [...] The page can become cleaned before
// set_page_dirty is reached." So the owner is asked before, and may refuse: then the
// store fails, and no byte has changed.
var notify2006b = scenario("notify-2006b",
	"A mapped page is stored to and written out at once; its owner may refuse (2006, 2009).",
	plan{pages: 2},
	func(h *house) {
		var program *process
		h.x.Calm(func() { program = h.process(false) })
		refuses := h.x.Choose(explore.Data, 2) == 1
		h.owner.refuse[0] = refuses
		h.x.Together(
			explore.Task{Name: "program", Do: func() {
				err := program.store(0, 1, 'A')
				if (err != nil) != refuses {
					h.x.Fail("H8: the owner refuses: %v; the store says: %v", refuses, err)
				}
				program.load(0)
			}},
			explore.Task{Name: "flusher", Do: func() { h.writeOut(0) }},
		)
		h.x.Calm(func() {
			if refuses && program.at(0).writable {
				h.x.Fail("H8: the store was refused, and the next is not")
			}
			h.settled()
			h.crash()
		})
	})
