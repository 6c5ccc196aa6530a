//go:build explore

package scenario

import (
	"fmt"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/volume"
)

// A volume is created where another once was, after writes to a third, and the power
// fails anywhere. Afterwards the table can be read, the new volume is there whole or
// not at all, and for certain if its creation was acknowledged; it holds nothing of
// the old one; and the third has lost nothing.
var volumeCreate = scenario("volume-create",
	"The power fails while a volume is created where another was.",
	plan{legs: 2, pages: 2*volume.ExtentAlign/cache.PageSize + 1, cuts: true, volumes: true},
	func(h *house) {
		var table *volume.Table
		var first *volume.Volume
		h.x.Calm(func() {
			must(volume.Format(h.mirror))
			table = opened(volume.Open(h.mirror))
			first = opened(table.Create("first", cache.PageSize))
			opened(h.mirror.WriteAt(fill('Z', sectorsPerPage), 2*volume.ExtentAlign)) // where the next will be
			must(h.mirror.Flush())
		})
		h.writeTo(first, 'A')
		h.flush(first)
		h.writeTo(first, 'B')
		created := h.create(table, "second")
		h.crashAnd(func() {
			table, err := volume.Open(h.mirror)
			h.failed("the table", err)
			first, err := table.Lookup("first")
			h.failed("the volume that was there", err)
			h.readVolume(first, h.survived)
			second, err := table.Lookup("second")
			if created {
				h.failed("the volume that was created", err)
			}
			if err == nil {
				h.readVolume(second, zeros)
			}
		})
	})

// zeros says what a volume may hold that nobody has written to.
func zeros(sector int64, version byte) error {
	if version != 0 {
		return fmt.Errorf("a new volume holds %s in sector %d, from before it was created", name(version), sector)
	}
	return nil
}

// opened is for what cannot fail, and returns something.
func opened[T any](x T, err error) T {
	must(err)
	return x
}

// create creates a volume of a page, and says whether that was acknowledged.
func (h *house) create(table *volume.Table, called string) bool {
	h.x.Note("creates volume %s", called)
	_, err := table.Create(called, cache.PageSize)
	h.failed("a volume's creation", err)
	if err == nil {
		h.x.Note("  created")
	}
	return err == nil
}

// writeTo writes a version to a volume of a page.
func (h *house) writeTo(v *volume.Volume, version byte) {
	ack := h.begin(0, sectorsPerPage, version)
	h.x.Note("writes %s to volume %s", name(version), v.Name())
	if _, err := v.WriteAt(fill(version, sectorsPerPage), 0); err != nil {
		h.failed("a write", err)
		return
	}
	ack()
	h.x.Note("  written")
}

// flush flushes a volume.
func (h *house) flush(v *volume.Volume) {
	done := h.beginSync(0, sectorsPerPage)
	h.x.Note("flushes volume %s", v.Name())
	if err := v.Flush(); err != nil {
		h.failed("a flush", err)
		return
	}
	done()
	h.x.Note("  flushed")
}

// readVolume checks what a volume of a page holds.
func (h *house) readVolume(v *volume.Volume, check func(sector int64, version byte) error) {
	p := make([]byte, cache.PageSize)
	if _, err := v.ReadAt(p, 0); err != nil {
		h.x.Fail("volume %s: %v", v.Name(), err)
	}
	for s := range int64(sectorsPerPage) {
		h.checkSector(p[s*device.SectorSize:][:device.SectorSize], s, check)
	}
}
