package mirror

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/devicetest"
	"holdfast.dev/holdfast/device/faultdev"
	"holdfast.dev/holdfast/device/powercut"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// maxDisks bounds how many devices a life uses up.
const maxDisks = 7

// TestCrashLife is TestCrash with legs that are failed, attached, replaced,
// added and removed on the way, and with openings that lack some. Nobody forces
// anything, so whatever opens must hold everything that was acknowledged, and
// whatever comes back must be let in.
func TestCrashLife(t *testing.T) {
	bases := allBases(t)
	if *oneSeed != 0 {
		must(t, runLife(*oneSeed, bases))
		return
	}
	r := devicetest.Rand(devicetest.Seed(t), 7)
	for i := range *crashCases * 3 / 2 {
		seed := r.Uint64() | 1
		if i < len(failedLives) {
			seed = failedLives[i]
		}
		if err := runLife(seed, bases); err != nil {
			t.Fatalf("-run=CrashLife -seed=%d: %v", seed, err)
		}
	}
}

// failedLives once failed; they are run first.
var failedLives = []uint64{
	15369794077205720231, // a leg set aside at open, and another that fails in the change before it is given up
	16543331762276732765,
	5730766981123950171, // a read beside what a leg that joined lacked set the bits of what it did not
	4329496521933563117,
}

func runLife(seed uint64, all []bases) error {
	return runCrash(&crash{rng: devicetest.Rand(seed, 1), model: newModel(crashData), life: true, out: map[string]bool{}}, all)
}

// given returns the disks that a person has the pool opened with.
func (c *crash) given() []*powercut.Disk {
	all := c.known()
	if len(all) > MaxLegs {
		all = listed(all)
	}
	if !c.life || c.whole || len(all) < 2 || c.rng.IntN(6) > 0 {
		return all
	}
	c.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:1+c.rng.IntN(len(all)-1)]
}

// known returns the disks that are not out.
func (c *crash) known() []*powercut.Disk {
	return slices.DeleteFunc(slices.Clone(c.disks), func(d *powercut.Disk) bool { return c.out[d.Name()] })
}

// listed returns the disks that the newest superblock lists.
func listed(disks []*powercut.Disk) []*powercut.Disk {
	var top *ondisk.Superblock
	of := map[*powercut.Disk]*ondisk.Superblock{}
	for _, d := range disks {
		cs := ondisk.ReadCopies(kept{d})
		of[d] = cs.Best()
		if sb := of[d]; sb != nil && (top == nil || sb.Generation > top.Generation) {
			top = sb
		}
	}
	if top == nil {
		return disks[:MaxLegs] // the power is off
	}
	return slices.DeleteFunc(disks, func(d *powercut.Disk) bool { return of[d] == nil || !top.Lists(of[d]) })
}

// openAll opens the pool with every disk that it has.
func (c *crash) openAll(faulty bool) error {
	c.whole = true
	defer func() { c.whole = false }()
	err := c.open(faulty)
	for _, d := range c.disks {
		if c.life && err == nil && !c.lists(d.Name()) {
			c.out[d.Name()] = true // its owner has read the log
		}
	}
	return err
}

func (c *crash) lists(name string) bool {
	return slices.ContainsFunc(c.m.Status().Legs, func(l LegStatus) bool { return l.Name == name })
}

// failing returns a disk behind a device that may fail.
func (c *crash) failing(d device.Device) device.Device {
	f := faultdev.New(kept{d})
	if c.rng.IntN(10) == 0 {
		c.addFault(f)
	}
	return f
}

// lifeStep changes the legs. What it is refused for must be a reason.
func (c *crash) lifeStep() error {
	clear(c.model.seen) // another leg may come to answer
	legs := c.m.Status().Legs
	l := legs[c.rng.IntN(len(legs))]
	var err error
	switch k := c.rng.IntN(10); {
	case k < 2:
		err = c.m.Fail(l.UUID)
	case k < 3:
		old := c.named(l.UUID)
		if err = c.m.Remove(l.UUID); err == nil && old != nil {
			c.out[old.Name()] = true
		}
	case k < 4:
		err = c.another(func(given Leg) error { return c.m.Add(given) })
	case k < 6 && l.State == Failed:
		old := c.named(l.UUID)
		err = c.another(func(given Leg) error {
			err := c.m.Replace(l.UUID, given)
			if err == nil && old != nil {
				c.out[old.Name()] = true
			}
			return err
		})
	default:
		return c.attachSome(true)
	}
	if mayRefuse(err) {
		return nil
	}
	return err
}

func mayRefuse(err error) bool {
	for _, e := range []error{device.ErrIO, ErrLastLeg, ErrWrongState, ErrTooMany, ErrMissing} {
		if errors.Is(err, e) {
			return true
		}
	}
	return err == nil
}

// another gives a disk that is in no pool, blank or used before.
func (c *crash) another(to func(given Leg) error) error {
	clear(c.touchedAll())
	for _, d := range c.disks {
		if c.out[d.Name()] && !c.isMember(d) && c.rng.IntN(2) == 0 {
			delete(c.out, d.Name())
			err := to(Leg{d.Name(), c.failing(d)})
			if err != nil {
				c.out[d.Name()] = true
			}
			return err
		}
	}
	if len(c.disks) == maxDisks {
		return nil
	}
	d := c.disks[0].Supply().NewDisk(fmt.Sprint(len(c.disks)), LegSize(crashData))
	c.disks = append(c.disks, d)
	err := to(Leg{d.Name(), c.failing(d)})
	// Somebody may give it all the same, if there is room.
	if err != nil && (len(c.known()) > MaxLegs || c.rng.IntN(2) == 0) {
		c.out[d.Name()] = true
	}
	return err
}

// touchedAll says that every region may differ, and returns nothing to clear.
func (c *crash) touchedAll() map[int]bool {
	for i := range c.touched {
		c.touched[i] = true
	}
	return nil
}

// attachSome attaches failed legs, with or without a device.
func (c *crash) attachSome(faulty bool) error {
	for _, l := range c.m.Status().Legs {
		if l.State != Failed {
			continue
		}
		given := Leg{Name: l.UUID}
		if !l.Present || c.rng.IntN(2) == 0 {
			d := c.named(l.UUID)
			if d == nil {
				continue
			}
			delete(c.out, d.Name())
			given = Leg{d.Name(), kept{d}}
			if faulty {
				given.Dev = c.failing(d)
			}
		}
		if err := c.m.Attach(given, false); !mayRefuse(err) {
			return fmt.Errorf("attach %s: %w", l.Name, err)
		}
	}
	return nil
}

// isMember says whether a disk is one of the pool's legs.
func (c *crash) isMember(d *powercut.Disk) bool {
	return slices.ContainsFunc(c.m.Status().Legs, func(l LegStatus) bool { return c.named(l.UUID) == d })
}

// named returns the disk that is a leg.
func (c *crash) named(id string) *powercut.Disk {
	for _, d := range c.disks {
		cs := ondisk.ReadCopies(kept{d})
		if sb := cs.Best(); sb != nil && sb.Leg.String() == id {
			return d
		}
	}
	return nil
}

// rejoin brings every leg back, and checks that only what it misses is copied (H10).
func (c *crash) rejoin() error {
	before := c.m.Status()
	dirty := before.Regions.Total - before.Regions.Clean
	if err := c.attachSome(false); err != nil {
		return err
	}
	joined := 0
	for _, l := range c.m.Status().Legs {
		if l.State == Joining {
			joined++
		}
	}
	for c.m.ResyncStep() {
	}
	after := c.m.Status()
	if wrote := after.Resync.BytesWritten - before.Resync.BytesWritten; wrote > uint64(joined*dirty*crashRegion) {
		return fmt.Errorf("H10: %d bytes were copied for %d dirty regions and %d legs", wrote, dirty, joined)
	}
	for _, l := range after.Legs {
		if l.State == Joining || l.State == Failed && c.named(l.UUID) != nil {
			return fmt.Errorf("leg %s is %s after it was attached", l.Name, l.State)
		}
	}
	return nil
}

func (c *crash) alone() *crash {
	return &crash{rng: c.rng, model: c.model.clone(), touched: c.touched, dataOff: c.dataOff, ring: c.ring, life: c.life, out: maps.Clone(c.out)}
}
