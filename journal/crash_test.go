package journal

import (
	"errors"
	"flag"
	"fmt"
	"runtime/debug"
	"testing"

	"holdfast.dev/holdfast/device/devicetest"
	"holdfast.dev/holdfast/device/powercut"
)

// Everything here is short-lived, and little of it lives at once.
const crashGCPercent = 5000

var (
	oneSeed    = flag.Uint64("seed", 0, "run the crash test with this one seed")
	crashCases = flag.Int("cases", 2000, "how many crash tests to run")
)

// TestCrash does random things with a journal on one to three legs, cuts the
// power of each leg on its own at a random operation, recovers, and cuts again,
// also during recovery. It checks that
//
//	H1  what an acknowledged flush covered is there
//	H2  every sector is a version written to it, none older than that
//	H3  the legs are equal on all that was not being written home directly
//	H5  every tuple fits, and nothing is reported as lost or at fault
//
// and the same for what any one of the legs would make of it alone.
func TestCrash(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(crashGCPercent))
	if *oneSeed != 0 {
		must(t, runCrash(*oneSeed))
		return
	}
	r := devicetest.Rand(devicetest.Seed(t), 0)
	for range *crashCases {
		seed := r.Uint64() | 1
		if err := runCrash(seed); err != nil {
			t.Fatalf("-seed=%d: %v", seed, err)
		}
	}
}

func runCrash(seed uint64) error {
	rng := devicetest.Rand(seed, 1)
	r, err := newRig(rng, 1+rng.IntN(3), int64(minRing+rng.IntN(32)))
	if err != nil {
		return err
	}
	if err := r.recover(); err != nil {
		return err
	}
	for range 1 + rng.IntN(3) {
		supply := r.supply()
		supply.CutAfter(1 + rng.IntN([]int{40, 200, 800}[rng.IntN(3)]))
		err := r.live(10 + rng.IntN(150))
		if err != nil && !errors.Is(err, powercut.ErrPowerLost) {
			return err
		}
		supply.Cut()
		if err := r.afterCrash(); err != nil {
			return err
		}
	}
	return nil
}

func (r *rig) live(steps int) error {
	for range steps {
		if err := r.step(); err != nil {
			return err
		}
	}
	return nil
}

func (r *rig) step() error {
	if r.j.broken != nil {
		return r.stepBroken()
	}
	switch k := r.rng.IntN(30); {
	case k < 8:
		return r.append()
	case k < 16:
		return r.fly(1 + r.rng.IntN(6))
	case k < 19:
		return r.direct()
	case k < 22:
		return r.sync()
	case k < 26:
		return r.checkpoint()
	case k < 28:
		return r.read(r.rng.IntN(rigBlocks))
	case k < 29:
		if r.rng.IntN(3) == 0 {
			return r.drain()
		}
	case r.rng.IntN(4) == 0:
		r.trouble()
	}
	return nil
}

// stepBroken goes on with what still works, or mends the journal.
func (r *rig) stepBroken() error {
	switch r.rng.IntN(6) {
	case 0:
		return r.drain()
	case 4:
		return r.checkpoint()
	case 1:
		return r.fly(3)
	case 2:
		return r.sync()
	case 3:
		return r.direct()
	}
	return r.append()
}

// trouble is a write or a flush that fails on every leg.
func (r *rig) trouble() {
	if n := len(r.flights); n > 0 {
		r.landed(r.flights[r.rng.IntN(n)], errTrouble)
		return
	}
	r.j.Break(errTrouble)
}

// checkpoint goes on with the checkpoint under way, or begins one.
func (r *rig) checkpoint() error {
	if r.check == nil {
		c := r.j.Checkpoint(int64(1+r.rng.IntN(20)) * BlockSize)
		if c.Empty() {
			return nil
		}
		r.check = &checkpointing{c: c, left: c.Home}
	}
	for n := r.rng.IntN(8); n > 0 && len(r.check.left) > 0; n-- {
		if err := r.home(&r.check.left[0]); failed(err) {
			r.check = nil
			return nil
		} else if err != nil {
			return err
		}
		r.check.left = r.check.left[1:]
	}
	if len(r.check.left) > 0 {
		return nil
	}
	return r.release()
}

// home writes a version home.
func (r *rig) home(v *Version) error {
	b, tuple, err := r.whole(v, int(v.Block))
	if err != nil {
		return err
	}
	if !r.j.Holds(v) {
		return fmt.Errorf("block %d is gone from the ring", v.Block)
	}
	return r.putHome(int(v.Block), v.Sectors, b, tuple)
}

// release ends a checkpoint whose blocks are home.
func (r *rig) release() error {
	if r.rng.IntN(2) == 0 {
		if err := r.land(); err != nil {
			return err
		}
	}
	if err := r.sync(); err != nil {
		return err
	}
	h, err := r.j.Release(r.check.c)
	if errors.Is(err, ErrEarly) {
		if r.j.tail != r.check.c.from {
			r.check = nil
		}
		return nil
	}
	r.check = nil
	if err != nil {
		return err
	}
	if r.rng.IntN(16) == 0 {
		r.j.Landed(h, errTrouble)
		return nil
	}
	err = r.write(h.Write)
	for n := r.rng.IntN(4); err == nil && n > 0; n-- {
		if err = r.append(); err == nil {
			err = r.fly(2)
		}
	}
	if err == nil {
		err = r.flush()
	}
	return r.headed(h, err)
}

// headed tells the journal what became of a header.
func (r *rig) headed(h *Header, err error) error {
	if err == nil || failed(err) {
		r.j.Landed(h, err)
		return nil
	}
	return err
}

// drain writes all home and empties the ring.
func (r *rig) drain() error {
	if err := r.land(); err != nil {
		return err
	}
	c, err := r.j.Drain()
	if err != nil {
		return err
	}
	for i := range c.Home {
		// What is not durable may be home on one leg and nowhere on another.
		r.model.direct[c.Home[i].Block] = true
		if err := r.home(&c.Home[i]); failed(err) {
			return nil
		} else if err != nil {
			return err
		}
	}
	if err := r.flush(); failed(err) {
		r.j.Break(err)
		return nil
	} else if err != nil {
		return err
	}
	h, err := r.j.Release(c)
	if err != nil {
		return err
	}
	if r.rng.IntN(8) == 0 {
		r.j.Landed(h, errTrouble)
		return nil
	}
	r.check = nil
	if err = r.write(h.Write); err == nil {
		err = r.flush()
	}
	if err == nil {
		r.model.flushed(r.j.head.seq)
	}
	return r.headed(h, err)
}

// afterCrash takes what is left and recovers, as often as the power is cut in
// it, and sees each time what becomes of it with one leg only.
func (r *rig) afterCrash() error {
	for {
		left := r.survivors()
		r.j, r.flights, r.check = nil, nil, nil
		r.use(left)
		one := new(powercut.Supply)
		left[r.rng.IntN(len(left))].Survivor(one, r.rng, powercut.Nothing)
		alone := &rig{rng: r.rng, c: r.c, model: r.model.clone()}
		alone.use(one.Disks())
		if err := alone.recover(); err != nil {
			return fmt.Errorf("with one leg of %d: %w", len(left), err)
		}
		if r.rng.IntN(2) == 0 {
			r.supply().CutAfter(1 + r.rng.IntN(60))
		}
		if err := r.recover(); !errors.Is(err, powercut.ErrPowerLost) {
			return err
		}
	}
}

// survivors returns what a cut leaves of the legs in sync.
func (r *rig) survivors() []*powercut.Disk {
	on := new(powercut.Supply)
	for _, l := range r.legs {
		l.disk.Survivor(on, r.rng, powercut.Mixed)
	}
	return on.Disks()
}

// recover replays the journal, opens it, and checks what is there.
func (r *rig) recover() error {
	rec, err := Scan(r.c, r.devices())
	if err != nil {
		return err
	}
	if rec.Lost != nil || errors.Join(rec.Faults...) != nil {
		return fmt.Errorf("H5: lost: %v, faults: %v", rec.Lost, rec.Faults)
	}
	for _, do := range []func() error{
		func() error { return rec.Level(r.write) }, r.flush,
		func() error { return rec.Replay(r.replay) }, r.flush,
	} {
		if err := do(); err != nil {
			return err
		}
	}
	j, h := rec.Open()
	if err := errors.Join(r.write(h.Write), r.flush()); err != nil {
		return err
	}
	j.Landed(h, nil)
	r.j = j
	return r.settle()
}

func (r *rig) replay(v Replayed) error {
	b := make([]byte, BlockSize)
	data := v.Data
	for s := range sectorsPerBlock {
		if v.Sectors&(1<<s) != 0 && data != nil {
			copy(b[s*sectorSize:], data[:sectorSize])
			data = data[sectorSize:]
		}
	}
	return r.putHome(int(v.Block), v.Sectors, b, v.Tuple)
}

// settle checks every block after replay, and makes equal what a direct write
// may have left different, as a resync does.
func (r *rig) settle() error {
	for b := range rigBlocks {
		if r.model.direct[b] {
			p, _, err := r.whole(nil, b)
			if err != nil {
				return err
			}
			if err := r.putHome(b, AllSectors, p, tupleOf(b, p)); err != nil {
				return err
			}
		}
		if err := r.legsEqual(b); err != nil {
			return err
		}
		p, tuple, err := r.whole(nil, b)
		if err != nil {
			return err
		}
		if err := r.model.may(b, p); err != nil {
			return err
		}
		if tuple != tupleOf(b, p) {
			return fmt.Errorf("H5: the tuple of block %d does not fit", b)
		}
	}
	if err := r.flush(); err != nil {
		return err
	}
	for b := range rigBlocks {
		p, _, err := r.whole(nil, b)
		if err != nil {
			return err
		}
		r.model.settled(b, p)
	}
	r.model.direct, r.model.unsure = [rigBlocks]bool{}, [rigBlocks]bool{}
	return nil
}
