//go:build explore

package scenario

import (
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/powercut"
	"holdfast.dev/holdfast/explore"
)

// mains is a disk on whose every change and flush the power may fail, or the disk,
// as the explorer chooses.
type mains struct {
	*powercut.Disk
	h *house
}

// before lets the power fail in the operation that comes, or that operation.
func (d mains) before(op string, off int64) error {
	x := d.h.x
	x.Touch(explore.Disks)
	if d.Supply().Lost() {
		return nil
	}
	if d.h.mayCut() && x.Choose(explore.Cut, 2) == 1 {
		x.Note("the power fails: %s %s at %d", d.Name(), op, off)
		d.Supply().CutAfter(1)
		return nil
	}
	if d.h.o.faults && x.Choose(explore.Fault, 2) == 1 {
		x.Note("%s fails to %s at %d", d.Name(), op, off)
		d.h.faulted = true
		return &device.OpError{Op: op, Name: d.Name(), Off: off, Err: device.ErrIO}
	}
	return nil
}

// mayCut says whether the power may fail: where it may once more, no more often than
// once in recovery.
func (h *house) mayCut() bool { return h.o.cuts && (!h.o.again || h.crashes < 2) }

func (d mains) WriteAt(p []byte, off int64) (int, error) {
	if err := d.before("write", off); err != nil {
		return 0, err
	}
	return d.Disk.WriteAt(p, off)
}

func (d mains) Discard(off, n int64) error {
	if err := d.before("discard", off); err != nil {
		return err
	}
	return d.Disk.Discard(off, n)
}

func (d mains) WriteZeroes(off, n int64) error {
	if err := d.before("zero", off); err != nil {
		return err
	}
	return d.Disk.WriteZeroes(off, n)
}

func (d mains) Flush() error {
	if err := d.before("flush", 0); err != nil {
		return err
	}
	return d.Disk.Flush()
}
