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

// Close does not wait for calls that are stuck; the last of them closes the
// device, once.
func TestCloseWhileHung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, under := watched(testSize)
		first := under.Add(faultdev.Rule{On: faultdev.Flush, Hang: true})
		second := under.Add(faultdev.Rule{On: faultdev.Read, Hang: true})
		read := make(chan error)
		go func() { _, err := d.ReadAt(make([]byte, 8), 0); read <- err }()
		wantTimeout(t, "flush", d.Flush())
		wantTimeout(t, "read", <-read)
		begin := time.Now()
		wantTimeout(t, "close", d.Close())
		if took := time.Since(begin); took != 0 {
			t.Errorf("Close took %v", took)
		}
		if err := d.Close(); !errors.Is(err, device.ErrClosed) {
			t.Errorf("a second Close: %v", err)
		}
		if err := d.Flush(); !errors.Is(err, device.ErrClosed) {
			t.Errorf("a flush after Close: %v", err)
		}
		first.Release()
		synctest.Wait()
		if n := under.closed(); n != 0 {
			t.Errorf("it was closed %d times under a call", n)
		}
		second.Release()
		synctest.Wait()
		if n := under.closed(); n != 1 {
			t.Errorf("it was closed %d times", n)
		}
	})
}

// Close waits for calls that are answered, and gives up those that are not; who
// waited for a place is told that the device is closed.
func TestCloseWaitsForCallsInFlight(t *testing.T) {
	for _, c := range []struct {
		name string
		rule faultdev.Rule
		took time.Duration
		want error
	}{
		{"slow", faultdev.Rule{Delay: limit / 3}, limit / 3, nil},
		{"hung", faultdev.Rule{Hang: true}, patience, device.ErrTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, under := watched(testSize)
				c.rule.On, c.rule.Forever = faultdev.Any, true
				under.Add(c.rule)
				errs := make(chan error, 70)
				for range cap(errs) {
					go func() { errs <- d.Flush() }()
				}
				synctest.Wait()
				begin := time.Now()
				if err := d.Close(); !errors.Is(err, c.want) {
					t.Errorf("Close: %v", err)
				}
				if took := time.Since(begin); took != c.took {
					t.Errorf("Close took %v, want %v", took, c.took)
				}
				refused := 0
				for range cap(errs) {
					err := <-errs
					if errors.Is(err, device.ErrClosed) {
						refused++
					} else if !errors.Is(err, c.want) {
						t.Errorf("flush: %v", err)
					}
				}
				if refused != cap(errs)-deadline.MaxCalls {
					t.Errorf("%d calls found it closed", refused)
				}
				under.Heal()
				synctest.Wait()
				if n := under.closed(); n != 1 {
					t.Errorf("it was closed %d times", n)
				}
			})
		})
	}
}

// Closing may hang as well: a file system may send what it has kept.
func TestCloseHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, under := watched(testSize)
		under.closing = make(chan struct{})
		begin := time.Now()
		wantTimeout(t, "close", d.Close())
		if took := time.Since(begin); took < limit || took > patience {
			t.Errorf("Close took %v", took)
		}
		close(under.closing)
		synctest.Wait()
		if n := under.closed(); n != 1 {
			t.Errorf("it was closed %d times", n)
		}
	})
}
