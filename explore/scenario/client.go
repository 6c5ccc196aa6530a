//go:build explore

package scenario

import (
	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/explore"
	"holdfast.dev/holdfast/internal/seam"
)

// client is a kernel as it was in 2008, with one page, above a mirror that is a device
// to it: programs store to the page whenever they like, also while it is written out.
// Then it is dirty again.
type client struct {
	h     *house
	page  int64
	frame []byte
	dirty bool

	// writing keeps write-outs apart, and is set during one.
	mu      seam.Mutex
	writing bool
}

// client puts a kernel above the mirror, in the place of the cache.
func (h *house) client(page int64) *client {
	c := &client{h: h, page: page, frame: make([]byte, cache.PageSize)}
	h.mirror.SetOwner(c)
	return c
}

// store stores a version to the whole page.
func (c *client) store(version byte) {
	seam.Point("client.store", uint64(c.page))
	c.h.x.Touch(explore.Disks) // they are given these very bytes
	c.h.begin(c.page*sectorsPerPage, sectorsPerPage, version)()
	c.h.x.Note("stores %s to page %d", name(version), c.page)
	copy(c.frame, fill(version, sectorsPerPage))
	c.dirty = true
}

// writeOut writes the page, if it is dirty, from where it is stored to.
func (c *client) writeOut() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.dirty {
		return nil
	}
	c.dirty, c.writing = false, true
	c.h.x.Note("writes page %d out", c.page)
	_, err := c.h.mirror.WriteAt(c.frame, c.page*cache.PageSize)
	c.dirty, c.writing = c.dirty || err != nil, false
	c.h.x.Note("  written out")
	return err
}

// SyncRange implements mirror.Owner.
func (c *client) SyncRange(off, n int64) error { return c.writeOut() }

// Quiet implements mirror.Owner.
func (c *client) Quiet(off, n int64) bool { return !c.dirty && !c.writing }
