//go:build explore

package scenario

import (
	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/explore"
)

// The disk fails once, in the background or under somebody's sync. Two programs have the
// volume open, and each has to learn of it from his next sync: it may have been his
// page, and neither knows whose sync came first.
var toldAll = scenario("told-all",
	"A write-out fails; each of two programs that sync is told of it.",
	plan{pages: 2, faults: true},
	func(h *house) {
		other, err := h.mapping.Open()
		h.failed("open", err)
		h.write(1, 'A')
		told := func(who *cache.Handle, n *int) func() {
			return func() {
				for range 2 {
					h.x.Note("syncs")
					if err := who.Sync(); err != nil {
						h.x.Note("  is told")
						*n++
					}
				}
			}
		}
		var one, two int
		h.x.Together(
			explore.Task{Name: "program", Do: told(h.vol, &one)},
			explore.Task{Name: "neighbour", Do: told(other, &two)},
		)
		h.x.Calm(func() {
			told(h.vol, &one)()
			told(other, &two)()
			if h.faulted && (one == 0 || two == 0) {
				h.x.Fail("H6: the disk has failed; one program was told %d times, the other %d", one, two)
			}
			h.settled()
		})
	})
