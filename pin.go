package holdfast

import "holdfast.dev/holdfast/cache"

// Pin is a range of a volume whose memory stays where it is, until its Release. It
// must not be copied: keep it where it was got, or a pointer to it.
type Pin = cache.Pin

// PinMode says what the holder of a pin does with the bytes.
type PinMode = cache.PinMode

const (
	// PinRead is for looking at them.
	PinRead = cache.PinRead
	// PinWrite is for changing them, at any moment and without a call.
	PinWrite = cache.PinWrite
)

// Pin gives the bytes of [off, off+n) themselves, without a copy. What is stored
// to them is part of the volume at once; while they are pinned to write each sync
// makes durable what they hold when it comes by. Close waits for the release.
func (v *Volume) Pin(off, n int64, mode PinMode) (Pin, error) { return v.handle.Pin(off, n, mode) }

// Hold is a group of pages that are written but that nobody may write out until
// the group's Release. It fails with ErrAsync while a program has the volume mapped
// without announcing its stores, and after that programs have to announce them.
type Hold = cache.Hold

// Hold begins a group. Close waits for its release.
func (v *Volume) Hold() (*Hold, error) { return v.handle.Hold() }
