//go:build explore

package scenario

import (
	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/explore"
)

// A page that is pinned cannot leave memory when it is discarded: it becomes zeros in
// its place. Then the disk is told, and until it has done it somebody may store to the
// page and write it out: that must not be what the disk discards while the page is
// taken for clean. (What is not pinned is gone by then, and comes back only when the
// discard is over.)
var discardPinned = scenario("discard-pinned",
	"A pinned page is discarded while it is written to and written out.",
	plan{pages: 2},
	func(h *house) {
		h.write(1, 'A')
		mode := cache.PinMode(h.x.Choose(explore.Data, 2))
		pin, err := h.vol.Pin(cache.PageSize, cache.PageSize, mode)
		h.failed("a pin", err)
		h.x.Together(
			explore.Task{Name: "trimmer", Do: func() { h.discard(1) }},
			explore.Task{Name: "program", Do: func() { h.write(1, 'B'); h.writeOut(1) }},
		)
		h.x.Calm(func() {
			pin.ReleaseUnchanged()
			h.settled()
			h.crash()
		})
	})
