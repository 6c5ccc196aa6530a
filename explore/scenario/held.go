//go:build explore

package scenario

import (
	"errors"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/explore"
)

// An owner that keeps track of its own dirty pages (set_page_dirty_notag, 2009) makes two
// of them dirty, which nobody may write out until it lets go of both. Others sync, which
// passes them by, and write, which is refused while they are held. After the release all
// is written like anything else.
var held = scenario("held-2009",
	"Two pages are held dirty and let go, beside a writer who syncs (2009).",
	plan{pages: 2, stability: cache.StabilityCopy},
	func(h *house) {
		h.write(1, 'A')
		h.x.Together(
			explore.Task{Name: "owner", Do: func() {
				hold, err := h.vol.Hold()
				h.failed("a hold", err)
				for page := range int64(2) {
					ack := h.begin(page*sectorsPerPage, 1, 'H')
					h.x.Note("holds page %d, written to", page)
					_, err := hold.WriteAt(fill('H', 1), page*cache.PageSize)
					h.failed("a write to a hold", err)
					ack()
				}
				h.x.Note("lets go")
				hold.Release()
			}},
			explore.Task{Name: "writer", Do: func() {
				ack := h.begin(10, 1, 'B')
				if _, err := h.vol.WriteAt(fill('B', 1), 10*512); err == nil {
					ack()
				} else if !errors.Is(err, cache.ErrHeld) {
					h.failed("a write", err)
				}
				h.x.Note("syncs")
				h.failed("a sync", h.vol.Sync())
			}},
		)
		h.x.Calm(func() {
			h.settled()
			h.crash()
		})
	})
