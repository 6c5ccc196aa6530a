package powercut

import (
	"bytes"
	"slices"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/invariants"
	"holdfast.dev/holdfast/internal/seam"
)

// Disk is a simulated disk.
//
// Invariant: durable with the whole log applied is view.
type Disk struct {
	name   string
	size   int64
	supply *Supply

	// All below is guarded by supply.mu.
	closed   bool
	view     *store     // what reads see
	durable  *store     // what survives for certain
	log      []*version // complete but not durable, in order of completion
	flushed  int        // how many versions have left the log
	inFlight []*version // issued but not complete, in order of issue
}

// Supply returns the power that the disk hangs on.
func (d *Disk) Supply() *Supply { return d.supply }

// Name returns the name that the disk was made with.
func (d *Disk) Name() string { return d.name }

// Size is the size in bytes.
func (d *Disk) Size() int64 { return d.size }

// ReadAt reads len(p) bytes at off.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	seam.Point("powercut.read", uint64(off))
	d.supply.mu.Lock()
	defer d.supply.mu.Unlock()
	if err := d.check(off, int64(len(p))); err != nil {
		return 0, d.fail("read", off, int64(len(p)), err)
	}
	if err := d.supply.power(); err != nil {
		return 0, d.fail("read", off, int64(len(p)), err)
	}
	d.view.read(p, off)
	return len(p), nil
}

// WriteAt writes p at off.
func (d *Disk) WriteAt(p []byte, off int64) (int, error) {
	n := int64(len(p))
	if err := d.change(&version{off: off, n: n, data: bytes.Clone(p)}); err != nil {
		return 0, d.fail("write", off, n, err)
	}
	return len(p), nil
}

// Discard writes zeros: nothing here knows the space that a disk has left.
func (d *Disk) Discard(off, n int64) error {
	if err := d.change(&version{off: off, n: n}); err != nil {
		return d.fail("discard", off, n, err)
	}
	return nil
}

// WriteZeroes writes zeros.
func (d *Disk) WriteZeroes(off, n int64) error {
	if err := d.change(&version{off: off, n: n}); err != nil {
		return d.fail("zero", off, n, err)
	}
	return nil
}

func (d *Disk) change(v *version) error {
	if err := d.issue(v); err != nil || v.n == 0 {
		return err
	}
	seam.Point("powercut.change", uint64(v.off))
	return d.complete(v)
}

// issue puts a version in flight. When the power fails in this operation it
// stays there.
func (d *Disk) issue(v *version) error {
	d.supply.mu.Lock()
	defer d.supply.mu.Unlock()
	if err := d.check(v.off, v.n); err != nil {
		return err
	}
	if err := d.supply.power(); err != nil || v.n == 0 {
		return err
	}
	d.inFlight = append(d.inFlight, v)
	return d.supply.begun()
}

// complete makes a version in flight visible, unless the power went meanwhile.
func (d *Disk) complete(v *version) error {
	d.supply.mu.Lock()
	defer d.supply.mu.Unlock()
	if err := d.supply.power(); err != nil {
		return err
	}
	i := slices.Index(d.inFlight, v)
	d.inFlight = slices.Delete(d.inFlight, i, i+1)
	v.settle(d.view)
	v.applyTo(d.view)
	d.log = append(d.log, v)
	return nil
}

// Flush makes durable what was complete when it was called.
func (d *Disk) Flush() error {
	covered, err := d.issueFlush()
	if err == nil {
		seam.Point("powercut.flush", 0)
		err = d.completeFlush(covered)
	}
	if err != nil {
		return d.fail("flush", 0, 0, err)
	}
	return nil
}

// issueFlush returns how many versions, counted from the disk's first, the
// flush covers.
func (d *Disk) issueFlush() (covered int, err error) {
	d.supply.mu.Lock()
	defer d.supply.mu.Unlock()
	if err := d.check(0, 0); err != nil {
		return 0, err
	}
	if err := d.supply.power(); err != nil {
		return 0, err
	}
	return d.flushed + len(d.log), d.supply.begun()
}

func (d *Disk) completeFlush(covered int) error {
	d.supply.mu.Lock()
	defer d.supply.mu.Unlock()
	if err := d.supply.power(); err != nil {
		return err
	}
	n := max(covered-d.flushed, 0) // less than zero: a later flush was faster
	for _, v := range d.log[:n] {
		v.applyTo(d.durable)
	}
	d.log = slices.Delete(d.log, 0, n)
	d.flushed += n
	if invariants.Enabled && n > 0 && len(d.log) == 0 {
		invariants.Check(d.durable.equal(d.view), "powercut: %s reads otherwise than was flushed", d.name)
	}
	return nil
}

// Close makes later calls fail. What may survive does not change.
func (d *Disk) Close() error {
	d.supply.mu.Lock()
	defer d.supply.mu.Unlock()
	if d.closed {
		return d.fail("close", 0, 0, device.ErrClosed)
	}
	d.closed = true
	return nil
}

// check looks at a call before it does anything. Requires supply.mu.
func (d *Disk) check(off, n int64) error {
	if d.closed {
		return device.ErrClosed
	}
	return device.CheckRange(d.size, off, n)
}

func (d *Disk) fail(op string, off, n int64, err error) error {
	return &device.OpError{Op: op, Name: d.name, Off: off, Len: n, Err: err}
}

var _ device.Device = (*Disk)(nil)
