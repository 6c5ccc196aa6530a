// Package device holds the block devices that everything else stands on, and
// the interface that every stackable layer of Holdfast has.
//
// A Device is an array of bytes with a fixed size. Every layer that can be
// stacked (file, memory, mirror, volume) implements it and passes the suite in
// devicetest, so a layer can be tested on any other.
//
// # What every Device promises
//
//  1. Any offset and length within [0, Size) is allowed; alignment is only a
//     matter of speed.
//  2. Methods may be called from many goroutines at once. Of overlapping calls
//     each 512-byte sector sees some order; nothing more is promised.
//  3. A write, discard or zeroing is visible to every read that starts after it
//     returned, and durable once a Flush that started after it returned has
//     returned nil. Until then a crash may leave each 512-byte sector of it in
//     any version since the last Flush.
//  4. Discarded and zeroed ranges read as zeros.
//  5. A call that fails may have been done in part. After a failed Flush nothing
//     written since the last good one may be taken for durable.
//  6. The buffer given to WriteAt is not kept or changed, and must not change
//     until WriteAt returns.
package device

import "io"

// SectorSize is the smallest unit, in bytes, that a device writes whole.
const SectorSize = 512

// Device is a block device.
//
// Errors wrap the sentinels of this package; a call outside [0, Size) fails
// whole with ErrOutOfRange. ReadAt and WriteAt transfer everything or return an
// error, and n then says how many bytes, counted from the start, are known to
// have been transferred.
type Device interface {
	io.ReaderAt
	io.WriterAt

	// Flush makes everything durable that returned before it was called.
	Flush() error

	// Discard gives back the space of [off, off+n), which then reads as zeros.
	Discard(off, n int64) error

	// WriteZeroes makes [off, off+n) read as zeros and keeps its space.
	WriteZeroes(off, n int64) error

	// Size is the device's size in bytes; it does not change while it is open.
	Size() int64

	// Close releases the device without flushing it. Calls after it fail with
	// ErrClosed.
	Close() error
}

// Extent is a range of a device that is all data or all hole.
type Extent struct {
	Off, Len int64
	// Hole says that the range reads as zeros and takes no space.
	Hole bool
}

// Extenter is implemented by devices that know which parts of them are holes.
type Extenter interface {
	// Extents calls yield for the extents of [off, off+n), ascending, without
	// gaps, until yield returns false. A part that is not known to be a hole is
	// reported as data.
	Extents(off, n int64, yield func(Extent) bool) error
}

// Extents lists the extents of d's [off, off+n): from d if it is an Extenter,
// otherwise as one extent of data.
func Extents(d Device, off, n int64, yield func(Extent) bool) error {
	if err := CheckRange(d.Size(), off, n); err != nil {
		return err
	}
	if e, ok := d.(Extenter); ok {
		return e.Extents(off, n, yield)
	}
	if n > 0 {
		yield(Extent{Off: off, Len: n})
	}
	return nil
}
