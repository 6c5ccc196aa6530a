package mirror

import (
	"errors"
	"fmt"
	"strings"

	"holdfast.dev/holdfast/device"
)

// A leg's two superblocks. Each is written whole and flushed before the other
// is touched, and the one that is worse comes first, so that a torn write
// never takes the only good copy: what a leg can tell never gets older.

// copyState says how one copy was found.
type copyState struct {
	off int64
	sb  *superblock // nil if err is set
	err error
}

// copies is both superblocks of a leg as they were read.
type copies [2]copyState

// readCopies reads both superblocks of a device.
func readCopies(d device.Device) copies {
	var c copies
	buf := alignedBytes(BlockSize)
	c[0] = readCopy(d, superOffset, buf)
	tail := tailOffset(d.Size())
	if c[0].sb != nil {
		// The head knows better where the tail is if the device has grown.
		tail = tailOffset(c[0].sb.legSize)
	}
	c[1] = readCopy(d, tail, buf)
	if c[0].sb == nil || c[1].sb == nil {
		return c
	}
	if a, b := c[0].sb, c[1].sb; a.pool != b.pool || a.leg != b.leg {
		// One is a remnant: both cannot be this leg's.
		older := 0
		if b.generation < a.generation {
			older = 1
		}
		c[older] = copyState{off: c[older].off, err: fmt.Errorf("%w: it is another leg's", ErrCorrupt)}
	}
	return c
}

func readCopy(d device.Device, off int64, buf []byte) copyState {
	if off < superOffset {
		return copyState{off: off, err: fmt.Errorf("%w: no room for a superblock", ErrCorrupt)}
	}
	if _, err := d.ReadAt(buf, off); err != nil {
		return copyState{off: off, err: err}
	}
	sb, err := decodeSuperblock(buf, off)
	return copyState{off: off, sb: sb, err: err}
}

// best returns the newer sound superblock, or nil.
func (c *copies) best() *superblock {
	a, b := c[0].sb, c[1].sb
	if a == nil || b != nil && b.generation > a.generation {
		return b
	}
	return a
}

// broken returns the copy that cannot be used while the other can, or nil.
func (c *copies) broken() *copyState {
	for i := range c {
		if c[i].sb == nil && c[1-i].sb != nil {
			return &c[i]
		}
	}
	return nil
}

// settled says whether both copies are sound and tell the same.
func (c *copies) settled() bool {
	return c[0].sb != nil && c[1].sb != nil && c[0].sb.sameView(c[1].sb)
}

// err says why neither copy can be used. An unknown format is told before
// damage: the other copy may merely be torn.
func (c *copies) err() error {
	for i := range c {
		if errors.Is(c[i].err, ErrUnsupported) {
			return c[i].err
		}
	}
	return &bothBroken{c}
}

// bothBroken says why a leg cannot be told. It wraps ErrCorrupt and the causes.
type bothBroken struct{ *copies }

func (e *bothBroken) Error() string {
	return fmt.Sprintf("%v: both superblocks are unusable (at %d: %s; at %d: %s)", ErrCorrupt,
		e.copies[0].off, trimSentinel(e.copies[0].err), e.copies[1].off, trimSentinel(e.copies[1].err))
}

// Unwrap returns the causes.
func (e *bothBroken) Unwrap() []error {
	return []error{ErrCorrupt, e.copies[0].err, e.copies[1].err}
}

// trimSentinel returns the cause beneath ErrCorrupt as text, so that a line
// does not say the same thing three times.
func trimSentinel(err error) string {
	return strings.TrimPrefix(err.Error(), ErrCorrupt.Error()+": ")
}

// worse is the index of the copy to be overwritten first: the one that cannot
// be used, otherwise the older.
func (c *copies) worse() int {
	if c[0].sb == nil || c[1].sb != nil && c[0].sb.generation <= c[1].sb.generation {
		return 0
	}
	return 1
}

// writeCopies writes sb to both places of a leg, durably, the worse one first.
// It keeps *worse right whatever fails, so that it can be called again.
func writeCopies(d device.Device, flush func() error, sb *superblock, worse *int, buf []byte) error {
	places := [2]int64{superOffset, tailOffset(sb.legSize)}
	for range places {
		sb.encode(buf, places[*worse])
		if _, err := d.WriteAt(buf, places[*worse]); err != nil {
			return err
		}
		if err := flush(); err != nil {
			return err
		}
		*worse = 1 - *worse
	}
	return nil
}

// erase makes sure that no superblock of the device that c was read from is found
// again, wherever it is.
func (c *copies) erase(d device.Device) error {
	zeros := alignedBytes(BlockSize)
	for _, off := range []int64{superOffset, tailOffset(d.Size()), c[1].off} {
		if off < superOffset || off > d.Size()-BlockSize {
			continue
		}
		if _, err := d.WriteAt(zeros, off); err != nil {
			return err
		}
	}
	return d.Flush()
}
