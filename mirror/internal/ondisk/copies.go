package ondisk

import (
	"errors"
	"fmt"
	"strings"

	"holdfast.dev/holdfast/device"
)

// A leg's two superblocks. Each is written whole and flushed before the other
// is touched, and the one that is worse comes first, so that a torn write
// never takes the only good copy: what a leg can tell never gets older.

// Copy says how one copy was found.
type Copy struct {
	Off int64
	sb  *Superblock // nil if err is set
	Err error
}

// Copies is both superblocks of a leg as they were read.
type Copies [2]Copy

// ReadCopies reads both superblocks of a device.
func ReadCopies(d device.Device) Copies {
	var c Copies
	buf := device.Aligned(BlockSize)
	c[0] = readCopy(d, HeadOffset, buf)
	tail := TailOffset(d.Size())
	if c[0].sb != nil {
		// The head knows better where the tail is if the device has grown.
		tail = TailOffset(c[0].sb.LegSize)
	}
	c[1] = readCopy(d, tail, buf)
	if c[0].sb == nil || c[1].sb == nil {
		return c
	}
	if a, b := c[0].sb, c[1].sb; a.Pool != b.Pool || a.Leg != b.Leg {
		// One is a remnant: both cannot be this leg's.
		older := 0
		if b.Generation < a.Generation {
			older = 1
		}
		c[older] = Copy{Off: c[older].Off, Err: fmt.Errorf("%w: it is another leg's", ErrCorrupt)}
	}
	return c
}

func readCopy(d device.Device, off int64, buf []byte) Copy {
	if off < HeadOffset {
		return Copy{Off: off, Err: fmt.Errorf("%w: no room for a superblock", ErrCorrupt)}
	}
	if _, err := d.ReadAt(buf, off); err != nil {
		return Copy{Off: off, Err: err}
	}
	sb, err := decodeSuperblock(buf, off)
	return Copy{Off: off, sb: sb, Err: err}
}

// Best returns the newer sound superblock, or nil.
func (c *Copies) Best() *Superblock {
	a, b := c[0].sb, c[1].sb
	if a == nil || b != nil && b.Generation > a.Generation {
		return b
	}
	return a
}

// Broken returns the copy that cannot be used while the other can, or nil.
func (c *Copies) Broken() *Copy {
	for i := range c {
		if c[i].sb == nil && c[1-i].sb != nil {
			return &c[i]
		}
	}
	return nil
}

// Settled says whether both copies are sound and tell the same.
func (c *Copies) Settled() bool {
	return c[0].sb != nil && c[1].sb != nil && c[0].sb.SameView(c[1].sb)
}

// Err says why neither copy can be used. An unknown format is told before
// damage: the other copy may merely be torn.
func (c *Copies) Err() error {
	for i := range c {
		if errors.Is(c[i].Err, ErrUnsupported) {
			return c[i].Err
		}
	}
	return &bothBroken{c}
}

// bothBroken says why a leg cannot be told. It wraps ErrCorrupt and the causes.
type bothBroken struct{ *Copies }

func (e *bothBroken) Error() string {
	return fmt.Sprintf("%v: both superblocks are unusable (at %d: %s; at %d: %s)", ErrCorrupt,
		e.Copies[0].Off, trimSentinel(e.Copies[0].Err), e.Copies[1].Off, trimSentinel(e.Copies[1].Err))
}

// Unwrap returns the causes.
func (e *bothBroken) Unwrap() []error {
	return []error{ErrCorrupt, e.Copies[0].Err, e.Copies[1].Err}
}

// trimSentinel returns the cause beneath ErrCorrupt as text, so that a line
// does not say the same thing three times.
func trimSentinel(err error) string {
	return strings.TrimPrefix(err.Error(), ErrCorrupt.Error()+": ")
}

// Worse is the index of the copy to be overwritten first: the one that cannot
// be used, otherwise the older.
func (c *Copies) Worse() int {
	if c[0].sb == nil || c[1].sb != nil && c[0].sb.Generation <= c[1].sb.Generation {
		return 0
	}
	return 1
}

// WriteCopies writes sb to both places of a leg, durably, the worse one first.
// It keeps *worse right whatever fails, so that it can be called again.
func WriteCopies(d device.Device, flush func() error, sb *Superblock, worse *int, buf []byte) error {
	places := [2]int64{HeadOffset, TailOffset(sb.LegSize)}
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

// Erase makes sure that no superblock of the device that c was read from is found
// again, wherever it is.
func (c *Copies) Erase(d device.Device) error {
	zeros := device.Aligned(BlockSize)
	for _, off := range []int64{HeadOffset, TailOffset(d.Size()), c[1].Off} {
		if off < HeadOffset || off > d.Size()-BlockSize {
			continue
		}
		if _, err := d.WriteAt(zeros, off); err != nil {
			return err
		}
	}
	return d.Flush()
}
