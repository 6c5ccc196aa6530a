//go:build explore

package scenario

import "holdfast.dev/holdfast/explore"

// Two programs write to neighbouring pages, which share a word of the tags, far enough
// from the first that a walk gets to them by the summary above. One of them syncs: it
// has to find its page, however far the other has come with his.
var neighbours = scenario("neighbours",
	"Two pages become dirty at once beneath one bit of the tags' summary.",
	plan{pages: 66},
	func(h *house) {
		h.x.Together(
			explore.Task{Name: "neighbour", Do: func() { h.write(64, 'A') }},
			explore.Task{Name: "program", Do: func() {
				h.write(65, 'B')
				h.mustSync()
			}},
		)
		h.crash()
	})
