package deadline_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/deadline"
	"holdfast.dev/holdfast/device/faultdev"
)

func TestOpen(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name   string
		takes  time.Duration
		err    error // of opening
		want   error
		closed int // by the time that it has been opened
	}{
		{"sound", limit - 1, nil, nil, 0},
		{"broken", 0, broken, broken, 0},
		{"hangs", 3 * limit, nil, device.ErrTimeout, 1},
		{"hangs and is broken", 3 * limit, broken, device.ErrTimeout, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &probe{Device: faultdev.New(device.NewMem(testSize))}
				begin := time.Now()
				d, err := deadline.Open(func() (device.Device, error) {
					time.Sleep(c.takes)
					return p, c.err
				}, deadline.Options{Name: "leg", Deadline: limit})
				if !errors.Is(err, c.want) {
					t.Errorf("Open: %v", err)
				}
				if took := time.Since(begin); took != min(c.takes, limit) {
					t.Errorf("Open took %v", took)
				}
				time.Sleep(3 * limit)
				synctest.Wait()
				if n := p.closed(); n != c.closed {
					t.Errorf("it was closed %d times", n)
				}
				if err == nil {
					must(t, d.Flush())
					must(t, d.Close())
				}
			})
		})
	}
}
