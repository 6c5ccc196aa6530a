package deadline_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/deadline"
	"holdfast.dev/holdfast/device/devicetest"
	"holdfast.dev/holdfast/device/faultdev"
)

// The tests of time run on the clock of testing/synctest, which moves on only
// when nothing else can happen: what it says is exact.

func TestConforms(t *testing.T) {
	devicetest.Run(t, func(t *testing.T, size int64) device.Device {
		return deadline.New(device.NewMem(size), deadline.Options{})
	})
}

// Whatever call hangs: it ends in time, with the words that belong to it; while
// it is stuck every other fails at once and does not reach the device; and when
// it has returned all is well again.
func TestHang(t *testing.T) {
	for hung := range calls(device.NewMem(8)) {
		t.Run(hung, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, under := watched(testSize)
				under.listing = make(chan struct{})
				under.Add(faultdev.Rule{On: faultdev.Any, Hang: true})
				time.Sleep(limit / 3) // between two looks
				begin := time.Now()
				err := calls(d)[hung]()
				wantTimeout(t, hung, err)
				var op *device.OpError
				if !errors.As(err, &op) || op.Op != hung || op.Name != "leg" {
					t.Errorf("the error is %v", err)
				}
				if took := time.Since(begin); took < limit || took > patience {
					t.Errorf("it took %v", took)
				}
				begin = time.Now()
				before := under.Count(faultdev.Any)
				for name, call := range calls(d) {
					wantTimeout(t, name+" after it", call())
				}
				if took := time.Since(begin); took != 0 {
					t.Errorf("calls after it took %v", took)
				}
				if n := under.Count(faultdev.Any); n != before {
					t.Errorf("%d calls after it reached the device", n-before)
				}
				under.Heal()
				close(under.listing)
				synctest.Wait()
				for name, call := range calls(d) {
					if err := call(); err != nil {
						t.Errorf("%s after the device came back: %v", name, err)
					}
				}
				must(t, d.Close())
			})
		})
	}
}

// A call that is answered just in time succeeds, whenever it began.
func TestSlowIsNotHung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, under := watched(testSize)
		under.Add(faultdev.Rule{On: faultdev.Any, Forever: true, Delay: limit - 1})
		for range 23 {
			if err := d.Flush(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(limit / 23)
		}
		under.Heal()
		must(t, d.Close())
	})
}

// The device comes back to a call whose caller has gone: it finds neither its
// memory to fill nor what has been put there since.
func TestLateCallsHaveMemoryOfTheirOwn(t *testing.T) {
	for _, n := range []int{8, 4096, 70000, 256 << 10} { // one piece: what follows is never given
		synctest.Test(t, func(t *testing.T) {
			d, under := watched(testSize)
			old := bytes.Repeat([]byte("o"), n)
			_, err := d.WriteAt(old, 0)
			must(t, err)

			under.Add(faultdev.Rule{On: faultdev.Read, Hang: true})
			p := make([]byte, n)
			_, err = d.ReadAt(p, 0)
			wantTimeout(t, "read", err)
			copy(p, bytes.Repeat([]byte("x"), n)) // the memory is another's
			under.Heal()
			synctest.Wait()
			if !bytes.Equal(p, bytes.Repeat([]byte("x"), n)) {
				t.Errorf("a read of %d bytes wrote to its memory after it had failed", n)
			}

			under.Add(faultdev.Rule{On: faultdev.Write, Hang: true})
			p = bytes.Repeat([]byte("n"), n)
			_, err = d.WriteAt(p, 0)
			wantTimeout(t, "write", err)
			copy(p, bytes.Repeat([]byte("x"), n))
			other, _ := watched(testSize)
			for range 100 { // if the memory went back too early, these get it
				_, err := other.WriteAt(bytes.Repeat([]byte("y"), n), 0)
				must(t, err)
			}
			must(t, other.Close())
			under.Heal()
			synctest.Wait()
			got := make([]byte, n)
			_, err = d.ReadAt(got, 0)
			must(t, err)
			if !bytes.Equal(got, bytes.Repeat([]byte("n"), n)) {
				t.Errorf("a write of %d bytes took %q", n, got[:8])
			}
			must(t, d.Close())
		})
	}
}

// However many call, few are given to a device that hangs, and all return.
func TestStuckCallsAreBounded(t *testing.T) {
	const callers, most = 200, deadline.MaxCalls
	synctest.Test(t, func(t *testing.T) {
		d, under := watched(testSize)
		under.Add(faultdev.Rule{On: faultdev.Any, Forever: true, Hang: true})
		begin := time.Now()
		errs := make(chan error, callers)
		for range callers {
			go func() { _, err := d.ReadAt(make([]byte, 8), 0); errs <- err }()
		}
		sent := 0
		for range callers {
			err := <-errs
			wantTimeout(t, "read", err)
			if strings.Contains(err.Error(), "nothing was heard") {
				sent++
			}
		}
		if n := under.Count(faultdev.Any); n != most || sent != most {
			t.Errorf("%d calls reached the device and %d were told so, want %d", n, sent, most)
		}
		if took := time.Since(begin); took > patience {
			t.Errorf("it took %v", took)
		}
		under.Heal()
		synctest.Wait()
		must(t, d.Close())
	})
}

// Callers beyond the bound wait for their turn at a device that answers.
func TestCallersWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, under := watched(testSize)
		under.Add(faultdev.Rule{On: faultdev.Any, Forever: true, Delay: limit / 2})
		errs := make(chan error)
		for range 640 {
			go func() { errs <- d.Flush() }()
		}
		for range 640 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		must(t, d.Close())
	})
}

// The calls that are answered while another is stuck succeed.
func TestOthersInFlightGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, under := watched(testSize)
		under.Add(faultdev.Rule{On: faultdev.Read, Hang: true})
		under.Add(faultdev.Rule{On: faultdev.Flush, Delay: limit - 1})
		read := make(chan error)
		go func() { _, err := d.ReadAt(make([]byte, 8), 0); read <- err }()
		time.Sleep(limit / 2)
		flush := make(chan error)
		go func() { flush <- d.Flush() }()
		wantTimeout(t, "read", <-read)
		if err := <-flush; err != nil {
			t.Errorf("flush: %v", err)
		}
		under.Heal()
		synctest.Wait()
		must(t, d.Close())
	})
}
