package device

import (
	"errors"

	"golang.org/x/sys/unix"
)

// The ways to make a range read as zeros, best first. The kernel has them for
// files and for block devices, and keeps the page cache right. Neither BLKDISCARD
// nor BLKSECDISCARD is among them: after these a disk may read as anything.
//
// Punching a hole in a block device unmaps the range where the device promises
// zeros after that, and is refused otherwise.
var (
	discardModes = []uint32{
		unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE,
		unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE,
	}
	zeroModes = discardModes[1:]
)

// zeros is written where the file system knows no better way, so much at a time
// that other requests get their turn.
var zeros = make([]byte, 256<<10)

// Discard gives the range's space back to the file system or the block device,
// where they can take it; the range reads as zeros in any case.
func (f *File) Discard(off, n int64) error {
	return f.zero("discard", off, n, discardModes)
}

// WriteZeroes makes the range read as zeros. Where the file system can, it only
// notes that.
func (f *File) WriteZeroes(off, n int64) error {
	return f.zero("zero", off, n, zeroModes)
}

// zero zeroes the blocks that lie within the range whole by one of the modes,
// and its ends by writing.
func (f *File) zero(op string, off, n int64, modes []uint32) error {
	if err := f.beginChange(op, off, n); err != nil {
		return err
	}
	defer f.gate.leave()
	end := off + n
	head := min((off+f.block-1)/f.block*f.block, end)
	tail := max(end/f.block*f.block, head)
	err := f.writeZeros(off, head)
	if err == nil {
		err = f.zeroBlocks(head, tail, modes)
	}
	if err == nil {
		err = f.writeZeros(tail, end)
	}
	return f.ended(op, off, int(n), err)
}

func (f *File) zeroBlocks(from, to int64, modes []uint32) error {
	if from == to {
		return nil
	}
	for _, mode := range modes {
		err := f.fallocate(mode, from, to-from)
		if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
			return err
		}
	}
	return f.writeZeros(from, to)
}

// fallocate runs beside other transfers but not beside a buffered write: that
// could write back a page it read before the range was zeroed.
func (f *File) fallocate(mode uint32, off, n int64) error {
	f.alone.RLock()
	defer f.alone.RUnlock()
	return retry(func() error { return unix.Fallocate(f.buffered, mode, off, n) })
}

func (f *File) writeZeros(from, to int64) error {
	for from < to {
		n, err := f.writeBuffered(zeros[:min(int64(len(zeros)), to-from)], from)
		if err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}

// Extents reports the file's holes. Space that is reserved but was not written
// since it was zeroed counts as a hole: the file system does not tell the two
// apart here. A block device is all data.
func (f *File) Extents(off, n int64, yield func(Extent) bool) error {
	if err := f.begin("extents", off, n); err != nil {
		return err
	}
	defer f.gate.leave()
	for end := off + n; off < end; {
		e, err := f.extent(off, end)
		if err != nil {
			return f.fail("extents", off, end-off, fileError(err))
		}
		if !yield(e) {
			return nil
		}
		off += e.Len
	}
	return nil
}

// extent returns the extent at off, which ends at end at the latest. The
// descriptor's position, which seeking moves, is used by nothing else.
func (f *File) extent(off, end int64) (Extent, error) {
	data, err := unix.Seek(f.buffered, off, unix.SEEK_DATA)
	switch {
	case err == unix.ENXIO:
		data = end // no data from here to the end of the file
	case err == unix.EINVAL || err == unix.EOPNOTSUPP:
		return Extent{Off: off, Len: end - off}, nil
	case err != nil:
		return Extent{}, err
	}
	if data > off {
		return Extent{Off: off, Len: min(data, end) - off, Hole: true}, nil
	}
	hole, err := unix.Seek(f.buffered, off, unix.SEEK_HOLE)
	if err == unix.ENXIO || (err == nil && hole <= off) {
		// The data was given back between the two calls. It is called data
		// once more, a sector of it, so that the listing gets on.
		hole = off + SectorSize
	} else if err != nil {
		return Extent{}, err
	}
	return Extent{Off: off, Len: min(hole, end) - off}, nil
}
