//go:build explore

package scenario

import "holdfast.dev/holdfast/explore"

// A program has written a page, and the flusher is writing it out when the program
// asks for a sync. The page is dirty no more and not yet under write-out: between the
// two, the sync has to find it.
var sync2004 = scenario("sync-2004",
	"A sync meets a page that somebody else is writing out (clear_page_dirty_for_io, 2004).",
	plan{pages: 4},
	func(h *house) {
		h.write(1, 'A')
		h.x.Together(
			explore.Task{Name: "flusher", Do: h.cache.Tick},
			explore.Task{Name: "program", Do: h.mustSync},
		)
		h.crash()
	})
