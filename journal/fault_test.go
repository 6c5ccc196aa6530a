package journal

import (
	"errors"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/devicetest"
	"holdfast.dev/holdfast/device/faultdev"
)

// faultStory is how many steps a story of TestEveryFault has, and faultEvery how
// many of its operations are passed over between one that fails and the next.
const (
	faultStory = 80
	faultEvery = 3
)

// TestEveryFault tells one story again and again: a while of life, a power cut,
// and the recovery. It fails the n-th write or flush of the one or the other for
// every third n, on one leg of two or on both, once or for good; then the power
// is cut. What was acknowledged is there on the legs that did not fail.
func TestEveryFault(t *testing.T) {
	seed := devicetest.Seed(t)
	for _, c := range []struct {
		name    string
		legs    int // that fail, of two
		forever bool
	}{
		{"one leg once", 1, false},
		{"one leg for good", 1, true},
		{"both legs once", 2, false},
		{"both legs for good", 2, true},
	} {
		for when, tell := range map[string]func(*rig, func()) error{"life": faultyLife, "recovery": faultyRecovery} {
			t.Run(c.name+" in "+when, func(t *testing.T) {
				met := true
				for n := 1; met; n += faultEvery {
					r, err := newRig(devicetest.Rand(seed, 7), 2, 24)
					must(t, err)
					var rules []*faultdev.Armed
					err = tell(r, func() {
						for _, l := range r.legs[:c.legs] {
							rules = append(rules, l.Add(faultdev.Rule{On: faultdev.Change | faultdev.Flush, Nth: n,
								Forever: c.forever, Err: device.ErrIO, Short: sectorSize}))
						}
					})
					if err == nil {
						r.supply().Cut()
						err = r.afterCrash()
					}
					if err != nil {
						t.Fatalf("failing operation %d: %v", n, err)
					}
					met = false
					for _, a := range rules {
						met = met || len(a.Reached()) > 0
					}
				}
			})
		}
	}
}

// faultyLife arms the faults before the first recovery and lives.
func faultyLife(r *rig, arm func()) error {
	arm()
	if err := r.recover(); err != nil {
		if failed(err) {
			return nil
		}
		return err
	}
	return r.live(faultStory)
}

// faultyRecovery lives, and arms the faults before the recovery after it.
func faultyRecovery(r *rig, arm func()) error {
	if err := errors.Join(r.recover(), r.live(faultStory)); err != nil {
		return err
	}
	r.supply().Cut()
	left := r.survivors()
	r.j, r.flights, r.check = nil, nil, nil
	r.use(left)
	arm()
	if err := r.recover(); err != nil && !failed(err) {
		return err
	}
	return nil
}

// A header that could not be written is as if it had not been tried.
func TestHeaderFails(t *testing.T) {
	for short := range int64(9) {
		p := newPlain(t, 1, 16)
		p.put(1, 1)
		p.put(2, 2)
		p.flush()
		c := p.j.Checkpoint(BlockSize)
		h, err := p.j.Release(c)
		must(t, err)
		f := faultdev.New(p.legs[0])
		f.Add(faultdev.Rule{On: faultdev.Write, Err: device.ErrIO, Short: short * sectorSize})
		_, err = f.WriteAt(h.P, h.Off)
		p.j.Landed(h, err)
		if v := p.j.Find(0, 9, nil); len(v) != 2 {
			t.Fatalf("%d blocks are held", len(v))
		}
		want := 2
		if short == BlockSize/sectorSize {
			want = 1 // it is there all the same
		}
		if got := p.replayed(p.scan()); len(got) != want {
			t.Errorf("with %d sectors of the header replayed %v", short, got)
		}
		h, err = p.j.Release(c)
		must(t, err)
		p.write(h.Write)
		p.j.Landed(h, nil)
		if got := p.replayed(p.scan()); len(got) != 1 {
			t.Errorf("replayed %v", got)
		}
	}
}

var errTrouble = errors.New("trouble")
