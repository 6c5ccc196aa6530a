//go:build explore

package scenario

import "holdfast.dev/holdfast/explore"

// A program maps a page, and takes leave of it again, while the page is written out from
// its frame, as pages are that nobody but the cache can change: it may not store to it
// before that is over. When it is gone all that it stored is known.
var attachedLate = scenario("attached-late",
	"A page is mapped while it is written out, stored to, and given back.",
	plan{pages: 2},
	func(h *house) {
		h.write(1, 'A')
		async := h.x.Choose(explore.Data, 2) == 1
		h.x.Together(
			explore.Task{Name: "program", Do: func() {
				p := h.process(async)
				h.failed("a store", p.store(8, 2, 'B'))
				h.failed("a store", p.store(9, 2, 'C'))
				h.x.Note("leaves")
				if async {
					p.a.Revoke(0, h.o.pages)
				}
				h.failed("to leave", p.a.Close())
			}},
			explore.Task{Name: "syncer", Do: h.mustSync},
		)
		h.x.Calm(func() {
			h.settled()
			h.crash()
		})
	})
