//go:build explore

package scenario

import (
	"errors"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/seam"
)

var errFull = errors.New("the owner's space is used up")

// owner is who owns the space of what is cached: he agrees to a page becoming dirty,
// keeps account, and refuses what he is told to.
type owner struct {
	device.Device
	h        *house
	reserved map[int64]bool // by offset
	refuse   map[int64]bool
	owns     bool // nothing is ever refused, so stores need not be announced
}

func newOwner(h *house, d device.Device) *owner {
	return &owner{Device: d, h: h, reserved: map[int64]bool{}, refuse: map[int64]bool{}}
}

// Reserve implements cache.Backing.
func (o *owner) Reserve(off, n int64) error {
	seam.Point("owner.reserve", uint64(off/cache.PageSize))
	switch {
	case n != cache.PageSize || o.reserved[off]:
		o.h.x.Fail("H8: the owner is asked twice about the page at %d", off)
	case o.refuse[off]:
		return errFull
	}
	o.reserved[off] = true
	return nil
}

// Release implements cache.Backing.
func (o *owner) Release(off, n int64) {
	seam.Point("owner.release", uint64(off/cache.PageSize))
	if n != cache.PageSize || !o.reserved[off] {
		o.h.x.Fail("H8: the owner is let go of the page at %d, which he does not know", off)
	}
	delete(o.reserved, off)
}

// OwnsSpace implements cache.SpaceOwner.
func (o *owner) OwnsSpace() bool { return o.owns }

// WriteGuarded implements device.Guarded, by whoever is beneath.
func (o *owner) WriteGuarded(p []byte, off int64, sums []uint32) error {
	return device.WriteGuarded(o.Device, p, off, sums)
}

// ReadScattered implements device.Scattered, by whoever is beneath.
func (o *owner) ReadScattered(parts []device.Part) error {
	return device.ReadScattered(o.Device, parts)
}

// WriteScattered implements device.Scattered, by whoever is beneath.
func (o *owner) WriteScattered(parts []device.Part) error {
	return device.WriteScattered(o.Device, parts)
}

// WriteBatch implements device.Batched, if whoever is beneath does.
func (o *owner) WriteBatch(parts []device.Part) (int, error) {
	if b, ok := o.Device.(device.Batched); ok {
		return b.WriteBatch(parts)
	}
	return 0, nil
}

// SyncBatch implements device.Batched, if whoever is beneath does.
func (o *owner) SyncBatch(parts []device.Part) (int, bool, error) {
	if b, ok := o.Device.(device.Batched); ok {
		return b.SyncBatch(parts)
	}
	return 0, false, nil
}
