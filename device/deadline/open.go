package deadline

import (
	"fmt"
	"time"

	"holdfast.dev/holdfast/device"
)

// Open opens a device within the deadline and watches over it. If opening it
// takes longer, it is closed when it has been opened after all.
func Open(open func() (device.Device, error), o Options) (*Device, error) {
	o.complete()
	type result struct {
		under device.Device
		err   error
	}
	opened, gone := make(chan result), make(chan struct{})
	go func() {
		under, err := open()
		select {
		case opened <- result{under, err}:
		case <-gone:
			if err == nil {
				_ = under.Close() // Open has returned: there is nobody left to tell
			}
		}
	}()
	late := time.NewTimer(o.Deadline)
	defer late.Stop()
	select {
	case r := <-opened:
		if r.err != nil {
			return nil, r.err
		}
		return New(r.under, o), nil
	case <-late.C:
		close(gone)
		return nil, &device.OpError{Op: "open", Name: o.Name, Err: fmt.Errorf("%w: it could not be opened within %v", device.ErrTimeout, o.Deadline)}
	}
}
