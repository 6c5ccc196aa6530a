package faultdev_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/devicetest"
	"holdfast.dev/holdfast/device/faultdev"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errTest = errors.New("as told")

func TestConformsWithoutRules(t *testing.T) {
	devicetest.Run(t, func(t *testing.T, size int64) device.Device {
		return faultdev.New(device.NewMem(size))
	})
}

func TestConformsDelayedAndHealed(t *testing.T) {
	devicetest.Run(t, func(t *testing.T, size int64) device.Device {
		d := faultdev.New(device.NewMem(size))
		d.Add(faultdev.Rule{On: faultdev.Any, Forever: true, Err: errTest})
		if _, err := d.WriteAt([]byte{1}, 0); !errors.Is(err, errTest) {
			t.Fatal(err)
		}
		d.Heal()
		d.Add(faultdev.Rule{On: faultdev.Any, Forever: true, Delay: time.Nanosecond})
		return d
	})
}

// operations runs one operation of each kind, on the range [off, off+8).
func operations(d *faultdev.Device, off int64) map[faultdev.Kind]func() error {
	return map[faultdev.Kind]func() error{
		faultdev.Read:    func() error { _, err := d.ReadAt(make([]byte, 8), off); return err },
		faultdev.Write:   func() error { _, err := d.WriteAt(make([]byte, 8), off); return err },
		faultdev.Flush:   d.Flush,
		faultdev.Discard: func() error { return d.Discard(off, 8) },
		faultdev.Zero:    func() error { return d.WriteZeroes(off, 8) },
	}
}

func TestRules(t *testing.T) {
	for _, c := range []struct {
		name string
		rule faultdev.Rule
		kind faultdev.Kind
		off  int64
		fail []bool // of as many operations in a row
	}{
		{"Once", faultdev.Rule{On: faultdev.Write}, faultdev.Write, 0, []bool{true, false, false}},
		{"Third", faultdev.Rule{On: faultdev.Write, Nth: 3}, faultdev.Write, 0, []bool{false, false, true, false}},
		{"ForGood", faultdev.Rule{On: faultdev.Flush, Nth: 2, Forever: true}, faultdev.Flush, 0, []bool{false, true, true, true}},
		{"OtherKind", faultdev.Rule{On: faultdev.Write | faultdev.Zero, Forever: true}, faultdev.Read, 0, []bool{false, false}},
		{"OneOfKinds", faultdev.Rule{On: faultdev.Change, Forever: true}, faultdev.Discard, 0, []bool{true, true}},
		{"Any", faultdev.Rule{On: faultdev.Any, Nth: 2}, faultdev.Read, 0, []bool{false, true, false}},
		{"TouchesRange", faultdev.Rule{On: faultdev.Zero, Off: 107, Len: 1}, faultdev.Zero, 100, []bool{true, false}},
		{"BeforeRange", faultdev.Rule{On: faultdev.Zero, Off: 108, Len: 9}, faultdev.Zero, 100, []bool{false, false}},
		{"AfterRange", faultdev.Rule{On: faultdev.Read, Off: 92, Len: 8}, faultdev.Read, 100, []bool{false, false}},
		{"FlushHasNoRange", faultdev.Rule{On: faultdev.Any, Len: 4096}, faultdev.Flush, 0, []bool{false, false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := faultdev.New(device.NewMem(4096))
			c.rule.Err = errTest
			d.Add(c.rule)
			for i, fail := range c.fail {
				err := operations(d, c.off)[c.kind]()
				if fail != errors.Is(err, errTest) || !fail && err != nil {
					t.Errorf("operation %d: %v, to fail: %v", i+1, err, fail)
				}
			}
			if got := d.Count(c.kind); got != len(c.fail) || d.Count(faultdev.Any) != got {
				t.Errorf("%d operations counted, %d of all kinds, want %d", got, d.Count(faultdev.Any), len(c.fail))
			}
		})
	}
}

func TestShort(t *testing.T) {
	under := device.NewMem(4096)
	d := faultdev.New(under)
	data := bytes.Repeat([]byte{7}, 1000)
	d.Add(faultdev.Rule{On: faultdev.Any, Forever: true, Err: errTest, Short: 600})
	if n, err := d.WriteAt(data, 0); n != 600 || !errors.Is(err, errTest) {
		t.Errorf("write: %d, %v", n, err)
	}
	wantNonZero(t, under, 600)
	if n, err := d.ReadAt(make([]byte, 1000), 0); n != 600 || !errors.Is(err, errTest) {
		t.Errorf("read: %d, %v", n, err)
	}
	if _, err := under.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	if err := d.WriteZeroes(400, 1000); !errors.Is(err, errTest) {
		t.Errorf("zero: %v", err)
	}
	wantNonZero(t, under, 400)
	if n, err := d.WriteAt(data[:10], 0); n != 10 || !errors.Is(err, errTest) {
		t.Errorf("write of less than is let through: %d, %v", n, err)
	}
}

// wantNonZero wants the first n of the device's bytes not to be zero, and the
// rest to be.
func wantNonZero(t *testing.T, d device.Device, n int) {
	t.Helper()
	p := make([]byte, d.Size())
	if _, err := d.ReadAt(p, 0); err != nil {
		t.Fatal(err)
	}
	if got := len(p) - bytes.Count(p, []byte{0}); got != n || bytes.IndexByte(p, 0) != n {
		t.Errorf("%d bytes are not zero, the first zero at %d; want %d", got, bytes.IndexByte(p, 0), n)
	}
}

func TestHang(t *testing.T) {
	for name, release := range map[string]func(*faultdev.Device, *faultdev.Armed){
		"Release": func(_ *faultdev.Device, a *faultdev.Armed) { a.Release() },
		"Heal":    func(d *faultdev.Device, _ *faultdev.Armed) { d.Heal() },
	} {
		t.Run(name, func(t *testing.T) {
			under := device.NewMem(4096)
			d := faultdev.New(under)
			a := d.Add(faultdev.Rule{On: faultdev.Write, Hang: true})
			done := make(chan error)
			go func() { _, err := d.WriteAt([]byte{1}, 0); done <- err }()
			<-a.Reached()
			wantNonZero(t, under, 0) // held, so not done
			if _, err := d.WriteAt([]byte{2}, 1); err != nil {
				t.Errorf("an operation beside the one held: %v", err)
			}
			release(d, a)
			if err := <-done; err != nil {
				t.Errorf("the operation held: %v", err)
			}
			wantNonZero(t, under, 2)
		})
	}
}

func TestTheOldestRuleApplies(t *testing.T) {
	d := faultdev.New(device.NewMem(4096))
	second := errors.New("second")
	d.Add(faultdev.Rule{On: faultdev.Flush, Err: errTest})
	d.Add(faultdev.Rule{On: faultdev.Flush, Nth: 2, Err: second})
	if err := d.Flush(); !errors.Is(err, errTest) {
		t.Error(err)
	}
	if err := d.Flush(); !errors.Is(err, second) {
		t.Error(err)
	}
}
