//go:build explore

package scenario

import "holdfast.dev/holdfast/explore"

// The power fails somewhere between a region's first write and the clearing of its
// bit. What a leg has then of what was not flushed is left to chance, for each leg on
// its own; only the bit says where to look. So it is durable before the first write
// reaches a leg, and is cleared only when all that was written is durable too.
var regionCut = scenario("region-cut",
	"The power fails while a region is written, and while its bit is cleared.",
	plan{legs: 2, pages: 4, bare: true, cuts: true, less: 1}, writeAndClear)

// With guards these are durable, too, before the bit is cleared: from then on a block
// that does not fit its guard is lost, and before that it was in flight.
var guardCut = scenario("guard-cut",
	"The power fails while a block and its guard are written, and while the region's bit is cleared.",
	plan{legs: 2, pages: 4, cuts: true, less: 1},
	func(h *house) {
		h.x.Calm(func() { h.write(1, 'Z'); h.mustSync(); h.cycle() })
		writeAndClear(h)
	})

func writeAndClear(h *house) {
	h.x.Together(
		explore.Task{Name: "flusher", Do: func() { h.write(1, 'A'); h.cache.Tick() }},
		explore.Task{Name: "helper", Do: h.cycle},
	)
	h.crash()
}
