//go:build explore

package scenario

import (
	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/explore"
)

// Of a page that was written to in part, and is not in memory otherwise, only those
// sectors are known: they alone are written out, while a reader has the rest read in
// between them, and others are written. No sector is mixed up with what the disk had.
var partial = scenario("partial",
	"Parts of a page that is not in memory are written, written out and read at once.",
	plan{pages: 2, stability: cache.StabilityCopy},
	func(h *house) {
		h.x.Calm(func() {
			h.write(1, 'A')
			h.mustSync()
			h.reclaim()
		})
		h.x.Together(
			explore.Task{Name: "writer", Do: func() {
				h.writeSectors(8, 2, 'B')
				h.writeOut(1)
			}},
			explore.Task{Name: "reader", Do: func() {
				h.read(1)
				h.writeSectors(9, 2, 'C')
			}},
		)
		h.x.Calm(func() {
			h.read(1)
			h.settled()
			h.crash()
		})
	})
