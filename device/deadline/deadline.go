package deadline

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/invariants"
)

const (
	// Default is how long a device may take for a call. Linux gives a SCSI or
	// NVMe disk as long for a command before it resets it: by then the kernel
	// itself takes the disk for dead.
	Default = 30 * time.Second

	// looks is how often in each deadline the watchdog looks: a call is given up
	// at most one look late.
	looks = 4

	// maxCalls is how many calls a device is given at once: more gain nothing
	// from any disk. Each takes a thread while the device works on it.
	maxCalls = 16

	// pieceSize is the most bytes that the device is given to transfer in one
	// call, so that a deadline means the same however long the caller's is, and
	// so that the buffers of all calls take few MiB of memory. Linux cuts
	// transfers to disks at about as much.
	pieceSize = 256 << 10

	// largeSize is the same for the first maxLarge long transfers that are under
	// way: a reader of much data has to wake a thread half as often then. All
	// others' being shorter keeps the memory bounded.
	largeSize = 2 * pieceSize
	maxLarge  = 2

	// zeroSize is the same for discards and zeroings. A disk that has to write
	// the zeros has done so many in a few seconds; it is a multiple of any unit
	// in which space is given back, so that the cuts leave none behind.
	zeroSize = 256 << 20

	// maxExtents is how many extents are fetched at a time.
	maxExtents = 64
)

// Options say how a device is watched.
type Options struct {
	// Name is the device as a person knows it, for errors.
	Name string
	// Deadline is how long one call may take; Default if it is not positive.
	Deadline time.Duration
}

func (o *Options) complete() {
	if o.Deadline <= 0 {
		o.Deadline = Default
	}
}

// Device is a device whose calls end.
type Device struct {
	under    device.Device
	name     string
	size     int64
	deadline time.Duration

	large atomic.Int32 // calls that may transfer largeSize

	watching sync.WaitGroup
	unwatch  chan struct{} // closed by Close

	mu sync.Mutex
	// changed tells that one of the fields below has: a call was released, the
	// device is hung, or closed.
	changed sync.Cond
	// All below is guarded by mu.

	looked  int64   // how often the watchdog has
	running []*call // in flight, or answered and not yet released
	idle    []*call // to be used again
	waiting int     // callers that wait for changed
	stuck   int     // calls given up that have not returned
	closed  bool
	// heir says that Close has left it to the last stuck call to close under.
	heir bool
}

// New watches over a device, which it closes with itself.
func New(under device.Device, o Options) *Device {
	o.complete()
	d := &Device{
		under: under, name: o.Name, size: under.Size(), deadline: o.Deadline,
		unwatch: make(chan struct{}),
	}
	d.changed.L = &d.mu
	d.watching.Go(d.watch)
	return d
}

// Size is the size of the device beneath when New was called.
func (d *Device) Size() int64 { return d.size }

// watch is the watchdog.
func (d *Device) watch() {
	t := time.NewTicker(max(d.deadline/looks, 1))
	defer t.Stop()
	for {
		select {
		case <-d.unwatch:
			return
		case <-t.C:
			d.look()
		}
	}
}

// look gives up the calls that have taken too long. A call began after the last
// look that it has not seen, so one more than looks must have passed.
func (d *Device) look() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.looked++
	for i := 0; i < len(d.running); {
		c := d.running[i]
		if d.looked-c.since <= looks || !c.state.CompareAndSwap(inFlight, givenUp) {
			i++
			continue
		}
		d.stuck++
		d.remove(c)
		d.changed.Broadcast()
		c.end <- givenUp
	}
}

// enter waits for a place for a call and gives it out, unless the device is
// hung or closed. Closing is only for the call that closes the device.
func (d *Device) enter(closing bool) (*call, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		switch {
		case d.closed && !closing:
			return nil, device.ErrClosed
		case d.stuck > 0:
			return nil, fmt.Errorf("%w: it is sent nothing before it has answered what it was asked more than %v ago (calls: %d)",
				device.ErrTimeout, d.deadline, d.stuck)
		case len(d.running) < maxCalls:
			return d.take(), nil
		}
		d.await()
	}
}

// await waits until something changes. Requires d.mu.
func (d *Device) await() {
	d.waiting++
	d.changed.Wait()
	d.waiting--
}

// take begins a call. Requires d.mu.
func (d *Device) take() *call {
	var c *call
	if n := len(d.idle); n > 0 {
		c = d.idle[n-1]
		d.idle = d.idle[:n-1]
	} else {
		c = newCall(d)
	}
	invariants.Check(d.stuck == 0 && len(d.running) < maxCalls, "deadline: a call enters beside %d stuck and %d others", d.stuck, len(d.running))
	c.state.Store(inFlight)
	c.since = d.looked
	c.place = len(d.running)
	d.running = append(d.running, c)
	return c
}

// remove takes a call out of those in flight. Requires d.mu.
func (d *Device) remove(c *call) {
	last := len(d.running) - 1
	moved := d.running[last]
	d.running[c.place] = moved
	moved.place = c.place
	d.running[last] = nil
	d.running = d.running[:last]
}

// release ends a call that was answered.
func (d *Device) release(c *call) {
	c.drop()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remove(c)
	d.idle = append(d.idle, c)
	if d.waiting > 0 {
		d.changed.Broadcast()
	}
}

// returned ends a call that was given up, when the device has come back from
// it. Nobody else has it any more, and it is not used again.
func (d *Device) returned(c *call) {
	c.drop()
	d.mu.Lock()
	d.stuck--
	last := d.stuck == 0 && d.heir
	d.mu.Unlock()
	if last {
		// Close has returned: there is nobody left to tell.
		_ = d.under.Close()
	}
}

// Close closes the device beneath when no call is in it any more. If calls are
// stuck, or closing itself is, Close returns an error that wraps
// device.ErrTimeout, and it is closed when they return.
func (d *Device) Close() error {
	stuck, err := d.shut()
	if err != nil {
		return d.fail(opClose, 0, 0, err)
	}
	defer func() {
		close(d.unwatch)
		d.watching.Wait()
	}()
	if stuck > 0 {
		return d.fail(opClose, 0, 0, fmt.Errorf("%w: it is closed when what is stuck in it returns (calls: %d)", device.ErrTimeout, stuck))
	}
	_, _, err = d.do(opClose, nil, 0, 0)
	return err
}

// shut lets no call in any more, waits for those in flight, and says how many
// are stuck; the last of these closes the device.
func (d *Device) shut() (stuck int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return 0, device.ErrClosed
	}
	// Whoever waits for a place is woken by the calls that have them.
	d.closed = true
	for len(d.running) > 0 {
		d.await()
	}
	d.heir = d.stuck > 0
	return d.stuck, nil
}
