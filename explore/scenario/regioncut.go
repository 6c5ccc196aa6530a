//go:build explore

package scenario

import "holdfast.dev/holdfast/explore"

// The power fails somewhere between a region's first write and the clearing of its
// bit, or its next write. What a leg has then of what was not flushed is left to
// chance, for each leg on its own; only the bit says where to look. So it is durable
// before the first write reaches a leg, and is cleared only when all that was written
// is durable too.
var regionCut = scenario("region-cut",
	"The power fails while a region is written, and while its bit is cleared.",
	plan{legs: 2, pages: 4, cuts: true, less: 1},
	func(h *house) {
		h.x.Together(
			explore.Task{Name: "program", Do: func() { h.write(1, 'A'); h.cache.Tick() }},
			explore.Task{Name: "helper", Do: h.cycle},
		)
		h.crash()
	})
