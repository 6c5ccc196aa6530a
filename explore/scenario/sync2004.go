//go:build explore

package scenario

import "holdfast.dev/holdfast/explore"

// A program has written a page, and somebody else is writing it out when the program asks
// for a sync: the flusher, or a journal that holds a part of the page and writes it out
// for an order of its own ("this will happen because kjournald is writing the buffer").
// The page is dirty no more and not yet under write-out: "there is a window where the page
// eludes the radix tree dirty page walk". As soon as the program has been told yes the
// power fails.
var sync2004 = scenario("sync-2004",
	"A sync meets a page that somebody else is writing out (clear_page_dirty_for_io, 2004).",
	plan{pages: 2},
	func(h *house) {
		h.write(1, 'A')
		other := []explore.Task{
			{Name: "flusher", Do: h.cache.Tick},
			{Name: "journal", Do: func() { h.writeSectors(14, 2, 'J'); h.writeOut(1) }},
		}[h.x.Choose(explore.Data, 2)]
		h.x.Together(other, explore.Task{Name: "program", Do: func() { h.mustSync(); h.powerFails() }})
		h.crash()
	})
