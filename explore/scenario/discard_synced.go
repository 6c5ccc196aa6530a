//go:build explore

package scenario

import "holdfast.dev/holdfast/explore"

// A page that was written to is discarded, and a sync comes between: the page has left
// memory, dirty as it was, and the disk has not discarded it yet. The sync may not say
// yes now: what the disk has is older than what was written before the sync. Either the
// disk has discarded the page by then, and it is zeros, or the discard has failed, and
// the sync says so.
var discardSynced = scenario("discard-synced",
	"A sync comes while a page that was written to is discarded; then the power fails.",
	plan{pages: 2, faults: true},
	func(h *house) {
		h.write(1, 'A')
		h.x.Calm(h.mustSync)
		h.write(1, 'B')
		h.x.Together(
			explore.Task{Name: "trimmer", Do: func() { h.discard(1) }},
			explore.Task{Name: "program", Do: func() {
				if err := h.sync(); err != nil {
					h.failedUnlessFaulted("a sync", err)
					return
				}
				h.powerFails()
			}},
		)
		h.crash()
	})
