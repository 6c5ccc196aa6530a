//go:build explore

package scenario

import (
	"errors"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/explore"
)

// "There are also nasty races with truncate." While a volume is cut off somebody makes a
// page of what goes dirty: with a write, with a store through a mapping, announced or not,
// or by taking hold of it ("the caller can hold onto the page indefinitely simply with a refcount, and
// go along happily dirtying it at any stage"). Either he comes before, and it is gone
// with the rest and its owner let go, or he is refused. When the volume grows again
// nothing old comes back.
var truncate2009 = scenario("truncate-2009",
	"A volume is cut off while a page of what goes becomes dirty; then it grows again (2009).",
	plan{pages: 2},
	func(h *house) {
		var program *process
		how := h.x.Choose(explore.Data, 4)
		h.x.Calm(func() {
			if there := h.x.Choose(explore.Data, 2) == 1; there {
				h.write(1, 'A')
			}
			if how == byStore || how == byAsyncStore {
				program = h.process(how == byAsyncStore)
			}
		})
		size := h.vol.Size()
		h.x.Together(
			explore.Task{Name: "truncater", Do: func() {
				h.x.Note("cuts off page 1")
				h.failed("a truncate", h.mapping.Truncate(cache.PageSize, cache.WaitPinned))
				h.x.Note("  cut off")
			}},
			explore.Task{Name: "program", Do: func() { h.dirtyBeyond(1, 'B', how, program) }},
		)
		h.x.Calm(func() {
			if h.owner.reserved[cache.PageSize] {
				h.x.Fail("H9: the owner has not been let go of a page that was cut off")
			}
			ack := h.begin(sectorsPerPage, sectorsPerPage, 0)
			h.failed("a truncate", h.mapping.Truncate(size, cache.WaitPinned))
			ack()
			h.read(1)
			h.settled()
			h.crash()
		})
	})

// The ways to make a page dirty.
const (
	byWrite = iota
	byStore
	byAsyncStore
	byPin
)

// dirtyBeyond makes a page dirty. It may have been cut off, and then that fails.
func (h *house) dirtyBeyond(page int64, version byte, how int, program *process) {
	ack := h.begin(page*sectorsPerPage, sectorsPerPage, version)
	var err error
	switch how {
	case byWrite:
		h.x.Note("writes %s to page %d", name(version), page)
		_, err = h.vol.WriteAt(fill(version, sectorsPerPage), page*cache.PageSize)
	case byStore, byAsyncStore:
		err = program.store(page*sectorsPerPage, sectorsPerPage, version)
	case byPin:
		h.x.Note("pins page %d", page)
		pin, perr := h.vol.Pin(page*cache.PageSize, cache.PageSize, cache.PinWrite)
		if err = perr; err == nil {
			h.x.Note("  stores %s to it", name(version))
			copy(pin.Bytes(), fill(version, sectorsPerPage))
			pin.Release()
		}
	}
	if err != nil {
		h.x.Note("  it is refused")
		if !errors.Is(err, device.ErrOutOfRange) {
			h.failed("a page cut off", err)
		}
		return
	}
	ack()
}
