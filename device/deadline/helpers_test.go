package deadline_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/deadline"
	"holdfast.dev/holdfast/device/faultdev"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testSize = 1 << 20
	limit    = 40 * time.Second
	// patience is how long a call may take to be given up.
	patience = limit / 4 * 5
)

// probe is a device that can hang in any call and notes what it was asked.
type probe struct {
	*faultdev.Device

	mu      sync.Mutex
	closes  int
	ranges  [][2]int64    // of all that have one, in turn
	closing chan struct{} // if not nil, what Close waits for
	listing chan struct{} // if not nil, what Extents waits for
}

func (p *probe) note(off, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ranges = append(p.ranges, [2]int64{off, n})
}

func (p *probe) ReadAt(b []byte, off int64) (int, error) {
	p.note(off, int64(len(b)))
	return p.Device.ReadAt(b, off)
}

func (p *probe) WriteAt(b []byte, off int64) (int, error) {
	p.note(off, int64(len(b)))
	return p.Device.WriteAt(b, off)
}

func (p *probe) Discard(off, n int64) error {
	p.note(off, n)
	return p.Device.Discard(off, n)
}

func (p *probe) WriteZeroes(off, n int64) error {
	p.note(off, n)
	return p.Device.WriteZeroes(off, n)
}

func (p *probe) Extents(off, n int64, yield func(device.Extent) bool) error {
	p.note(off, n)
	if p.listing != nil {
		<-p.listing
	}
	return p.Device.Extents(off, n, yield)
}

func (p *probe) Close() error {
	if p.closing != nil {
		<-p.closing
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closes++
	return p.Device.Close()
}

// closed says how often the device was closed.
func (p *probe) closed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closes
}

// watched returns a device in memory that is watched.
func watched(size int64) (*deadline.Device, *probe) {
	p := &probe{Device: faultdev.New(device.NewMem(size))}
	return deadline.New(p, deadline.Options{Name: "leg", Deadline: limit}), p
}

// calls are all calls that can hang, on the first 8 bytes.
func calls(d device.Device) map[string]func() error {
	return map[string]func() error{
		"read":    func() error { _, err := d.ReadAt(make([]byte, 8), 0); return err },
		"write":   func() error { _, err := d.WriteAt(make([]byte, 8), 0); return err },
		"flush":   d.Flush,
		"discard": func() error { return d.Discard(0, 8) },
		"zero":    func() error { return d.WriteZeroes(0, 8) },
		"extents": func() error { return device.Extents(d, 0, 8, func(device.Extent) bool { return true }) },
	}
}

func wantTimeout(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, device.ErrTimeout) {
		t.Errorf("%s: %v, want an error that wraps ErrTimeout", what, err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
