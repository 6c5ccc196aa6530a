package deadline

import (
	"fmt"
	"sync/atomic"

	"holdfast.dev/holdfast/device"
)

// opcode is what a call asks of the device.
type opcode uint8

const (
	opRead opcode = iota
	opWrite
	opReadScattered
	opWriteScattered
	opFlush
	opDiscard
	opZero
	opExtents
	opClose
)

var opNames = [...]string{
	opRead: "read", opWrite: "write", opReadScattered: "scattered read", opWriteScattered: "scattered write", opFlush: "flush", opDiscard: "discard",
	opZero: "zero", opExtents: "extents", opClose: "close",
}

// The states of a call. It leaves inFlight once: whoever changes it, the
// goroutine that has the answer or the watchdog, sends the state to end.
const (
	inFlight = iota
	answered
	givenUp
)

// call is one call of the device beneath. It belongs to its caller before it is
// started and after it was answered, and to its goroutine in between; for good
// if it is given up.
type call struct {
	d     *Device
	start func() // run, kept so that starting it allocates nothing
	end   chan int32
	state atomic.Int32

	// What is asked.
	op     opcode
	off, n int64
	buf    *buffer       // the memory of a transfer, otherwise nil
	parts  []device.Part // of a scattered call, within buf
	large  bool          // it counts in Device.large

	// What is answered.
	done    int
	extents []device.Extent
	err     error

	// Guarded by Device.mu.
	since int64 // how often the watchdog had looked when it was begun
	place int   // in Device.running
}

func newCall(d *Device) *call {
	c := &call{d: d, end: make(chan int32, 1)}
	c.start = c.run
	return c
}

// run does the call, and tells the caller or, if that has gone, nobody.
func (c *call) run() {
	c.ask()
	if c.state.CompareAndSwap(inFlight, answered) {
		c.end <- answered
	} else {
		c.d.returned(c)
	}
}

// ask puts the call to the device beneath.
func (c *call) ask() {
	under := c.d.under
	switch c.op {
	case opRead:
		c.done, c.err = under.ReadAt(c.buf.mem[:c.n], c.off)
	case opWrite:
		c.done, c.err = under.WriteAt(c.buf.mem[:c.n], c.off)
	case opReadScattered:
		c.err = device.ReadScattered(under, c.parts)
	case opWriteScattered:
		c.err = device.WriteScattered(under, c.parts)
	case opFlush:
		c.err = under.Flush()
	case opDiscard:
		c.err = under.Discard(c.off, c.n)
	case opZero:
		c.err = under.WriteZeroes(c.off, c.n)
	case opExtents:
		c.err = device.Extents(under, c.off, c.n, func(e device.Extent) bool {
			c.extents = append(c.extents, e)
			return len(c.extents) < maxExtents
		})
	case opClose:
		c.err = under.Close()
	}
}

// drop lets go of what the call holds.
func (c *call) drop() {
	if c.buf != nil {
		c.buf.free()
	}
	if c.large {
		c.d.large.Add(-1)
	}
	clear(c.parts)
	c.buf, c.parts, c.large, c.extents, c.done, c.err = nil, c.parts[:0], false, nil, 0, nil
}

// do makes one call; p is the memory of a transfer, of more than pieceSize only if
// it was counted in d.large. An error of the device
// beneath is passed on as it is.
func (d *Device) do(op opcode, p []byte, off, n int64) (done int, extents []device.Extent, err error) {
	c, err := d.enter(op == opClose)
	if err != nil {
		if len(p) > pieceSize {
			d.large.Add(-1)
		}
		return 0, nil, d.fail(op, off, n, err)
	}
	c.op, c.off, c.n = op, off, n
	if op == opRead || op == opWrite {
		c.large = len(p) > pieceSize
		c.buf = newBuffer(len(p))
	}
	if op == opWrite {
		copy(c.buf.mem, p)
	}
	if err := d.send(c); err != nil {
		return 0, nil, d.fail(op, off, n, err)
	}
	done, extents, err = c.done, c.extents, c.err
	if op == opRead {
		copy(p[:done], c.buf.mem)
	}
	d.release(c)
	return done, extents, err
}

// send starts a call and waits until it is answered, or given up: then it belongs
// to its goroutine.
func (d *Device) send(c *call) error {
	go c.start()
	if <-c.end == givenUp {
		return fmt.Errorf("%w: nothing was heard of it for %v", device.ErrTimeout, d.deadline)
	}
	return nil
}
