package holdfast

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"holdfast.dev/holdfast/device"
)

// headSize and tailSize in bytes are what is looked at of a block device: file
// systems, partition tables, RAID members and Holdfast itself all leave their
// marks there. A file is looked at whole, except for its holes.
const (
	headSize = 4 << 20
	tailSize = 1 << 20
	scanSize = 1 << 20
)

// checkUnused refuses to make a leg of what may hold something of value.
func checkUnused(path string, f device.Device) error {
	ranges := [][2]int64{{0, f.Size()}}
	advice := "remove it, or name another"
	if st, err := os.Stat(path); err == nil && st.Mode()&fs.ModeDevice != 0 {
		head := min(headSize, f.Size())
		tail := max(head, f.Size()-tailSize)
		ranges = [][2]int64{{0, head}, {tail, f.Size()}}
		advice = "if it is not needed, wipe it with blkdiscard or dd, or name another"
	}
	for _, r := range ranges {
		at, err := firstByte(f, r[0], r[1])
		if err != nil {
			return fmt.Errorf("leg %w", err)
		}
		if at >= 0 {
			return fmt.Errorf("%w: %s holds data (at byte %d); %s", ErrLegInUse, path, at, advice)
		}
	}
	return nil
}

// firstByte returns the offset of the first byte of f in [from, to) that is not
// zero, or -1.
func firstByte(f device.Device, from, to int64) (at int64, err error) {
	at = -1
	buf := make([]byte, scanSize)
	look := func(e device.Extent) bool {
		for off, end := e.Off, e.Off+e.Len; !e.Hole && off < end && at < 0 && err == nil; off += scanSize {
			p := buf[:min(scanSize, end-off)]
			if _, err = f.ReadAt(p, off); err == nil {
				if rest := bytes.TrimLeft(p, "\x00"); len(rest) > 0 {
					at = off + int64(len(p)-len(rest))
				}
			}
		}
		return at < 0 && err == nil
	}
	walk := device.Extents(f, from, to-from, look)
	return at, errors.Join(err, walk)
}
