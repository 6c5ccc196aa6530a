//go:build explore

package scenario

import (
	"errors"
	"slices"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/explore"
	"holdfast.dev/holdfast/internal/seam"
)

// While somebody looks at a page through a pin it is part of the volume: a truncate
// waits for him, or he has come too late. A pin to read locks nothing, and may come
// while the truncate has looked for pins already and not yet cut off.
var truncatePinned = scenario("truncate-pinned",
	"A volume is cut off while somebody pins a page of what goes, to read it; then it grows again.",
	plan{pages: 2},
	func(h *house) {
		h.write(1, 'A')
		size := h.vol.Size()
		h.x.Together(
			explore.Task{Name: "truncater", Do: func() {
				h.x.Note("cuts off page 1")
				h.failed("a truncate", h.mapping.Truncate(cache.PageSize, cache.WaitPinned))
				h.x.Note("  cut off")
			}},
			explore.Task{Name: "looker", Do: func() { h.look(1, 'A') }},
		)
		h.x.Calm(func() {
			ack := h.begin(sectorsPerPage, sectorsPerPage, 0)
			h.failed("a truncate", h.mapping.Truncate(size, cache.WaitPinned))
			ack()
			h.read(1)
			h.settled()
			h.crash()
		})
	})

// A discard does not wait for who looks at a page, but zeroes it under his eyes; and
// when it is over nothing that was there comes back, whoever came first.
var discardLooked = scenario("discard-looked",
	"A page is discarded while somebody pins it to read it.",
	plan{pages: 2},
	func(h *house) {
		h.write(1, 'A')
		h.x.Together(
			explore.Task{Name: "trimmer", Do: func() { h.discard(1) }},
			explore.Task{Name: "looker", Do: func() { h.look(1, 'A', 0) }},
		)
		h.x.Calm(func() {
			h.read(1)
			h.settled()
			h.crash()
		})
	})

// look pins a page to read, and looks at it twice: it is one of the versions. It may
// have been cut off, and then that fails.
func (h *house) look(page int64, versions ...byte) {
	pin, err := h.vol.Pin(page*cache.PageSize, cache.PageSize, cache.PinRead)
	if err != nil {
		h.x.Note("page %d cannot be pinned", page)
		if !errors.Is(err, device.ErrOutOfRange) {
			h.failed("a page cut off", err)
		}
		return
	}
	h.x.Note("has page %d pinned to read", page)
	for range 2 {
		seam.Point("looker.look", uint64(page))
		is := func(version byte) bool { return pin.Bytes()[0] == version }
		if h.vol.Size() < (page+1)*cache.PageSize || !slices.ContainsFunc(versions, is) {
			h.x.Fail("a page is cut off, or is something else, while it is pinned")
		}
	}
	pin.Release()
}
