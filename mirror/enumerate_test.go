package mirror

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"

	"holdfast.dev/holdfast/device/devicetest"
	"holdfast.dev/holdfast/device/powercut"
	"holdfast.dev/holdfast/internal/guard"
)

var enumerated = flag.Int("sequence", 1, "how long the sequences of TestEveryCut are")

// deeds are what the sequences consist of.
var deeds = []struct {
	name string
	do   func(c *crash) error
}{
	{"write", func(c *crash) error { c.change(opWrite, 0, 8); return nil }},
	{"write a part", func(c *crash) error { c.change(opWrite, 3, 1); return nil }},
	{"write across", func(c *crash) error { c.change(opWrite, 13, 9); return nil }},
	{"scatter", func(c *crash) error { c.scatter(); return nil }},
	{"batch", func(c *crash) error { c.ringWrite(0, 8); return nil }},
	{"checkpoint", func(c *crash) error { c.m.Checkpoint(); return nil }},
	{"batch, and flush", func(c *crash) error {
		c.ringWrite(8, 8)
		if c.m.Flush() == nil {
			c.model.flushed()
		}
		return nil
	}},
	{"batch, flushed at once", func(c *crash) error { c.ringSync(4, 12); return nil }},
	{"zero", func(c *crash) error { c.change(opZero, 5, 11); return nil }},
	{"discard", func(c *crash) error { c.change(opDiscard, 0, 16); return nil }},
	{"flush", func(c *crash) error {
		if c.m.Flush() == nil {
			c.model.flushed()
		}
		return nil
	}},
	{"cycle", func(c *crash) error { c.m.Cycle(); return nil }},
	{"scrub", func(c *crash) error { return c.scrub() }},
	{"fail", func(c *crash) error { return c.cutOr(c.m.Fail(c.m.Status().Legs[1].UUID)) }},
	{"attach", func(c *crash) error {
		clear(c.model.seen)
		if err := c.attachSome(false); err != nil {
			return err
		}
		for c.m.ResyncStep() {
		}
		return nil
	}},
	{"reopen", func(c *crash) error {
		clear(c.model.seen)
		return c.reopen()
	}},
}

// maxStates is how many states of the disks TestEveryCut looks at where it
// looks at all that a cut may leave.
const maxStates = 64

// TestEveryCut does every sequence of so many deeds on two legs and cuts the
// power after every operation of a disk. It checks what TestCrash does, on what
// is left: nothing that was not flushed, all of it, a part chosen at random, and,
// where they are few, each state that the cut may leave.
func TestEveryCut(t *testing.T) {
	base := crashBases(t, guard.CRC32C, 18*BlockSize)[1]
	seed := devicetest.Seed(t)
	var sequences, cuts, states int
	for n := 1; n <= *enumerated; n++ {
		sequence := make([]int, n)
		for {
			sequences++
			for cut := 1; ; cut++ {
				c := enumeratedCrash(base)
				did, lost, err := c.perform(sequence, cut)
				if err == nil {
					var k int
					k, err = c.everyState(devicetest.Rand(seed, uint64(sequences)<<32|uint64(cut)))
					states += k
				}
				if err != nil {
					t.Fatalf("%q, the power cut after %d operations: %v", did, cut, err)
				}
				if !lost {
					break
				}
				cuts++
			}
			if !next(sequence) {
				break
			}
		}
	}
	t.Logf("%d sequences, %d power cuts, %d states of the disks", sequences, cuts, states)
	if cuts < 4*sequences {
		t.Error("the sequences take fewer operations than their deeds do: the test tests less than it says")
	}
}

// next counts up a number of which each digit is a deed.
func next(sequence []int) bool {
	for i := range sequence {
		if sequence[i]++; sequence[i] < len(deeds) {
			return true
		}
		sequence[i] = 0
	}
	return false
}

func enumeratedCrash(base []*powercut.Disk) *crash {
	on := new(powercut.Supply)
	for _, d := range base {
		d.Survivor(on, nil, powercut.Nothing)
	}
	return &crash{rng: devicetest.Rand(1, 1), model: newModel(crashData), life: true, out: map[string]bool{}, disks: on.Disks(), mode: JournalAuto}
}

// perform does the deeds until the power goes. It returns their names and
// whether it went.
func (c *crash) perform(sequence []int, cut int) (did []string, lost bool, err error) {
	if err := c.openAll(false); err != nil {
		return nil, false, err
	}
	defer func() {
		if c.m != nil {
			c.m.Abandon()
		}
	}()
	on := c.disks[0].Supply()
	on.CutAfter(cut)
	for _, i := range sequence {
		did = append(did, deeds[i].name)
		err := deeds[i].do(c)
		if on.Lost() {
			return did, true, nil
		}
		if err != nil {
			return did, false, err
		}
	}
	return did, false, nil
}

// everyState recovers from what the cut may have left.
func (c *crash) everyState(rng *rand.Rand) (n int, err error) {
	on := c.disks[0].Supply()
	c.model.crashed()
	one := func(disks []*powercut.Disk) bool {
		n++
		err = c.alone().recover(disks)
		return err == nil
	}
	if on.Enumerate(maxStates, one) {
		return n, err
	}
	for _, how := range []powercut.Mode{powercut.Nothing, powercut.Everything, powercut.Writes, powercut.Sectors} {
		if !one(on.Survivors(rng, how)) {
			break
		}
	}
	return n, err
}

// scrub scrubs all. What it finds that no leg can give is part of life.
func (c *crash) scrub() error {
	err := c.m.Scrub(ScrubOptions{})
	c.troubles = c.trouble()
	if s := c.m.Status(); err != nil || s.Scrub.Bad > 0 {
		clear(c.model.seen)
		c.touchedAll() // what could not be read was written anew
	}
	return c.cutOr(err)
}

// cutOr tells an error that is no part of life.
func (c *crash) cutOr(err error) error {
	if mayRefuse(err) || errors.Is(err, powercut.ErrPowerLost) {
		return nil
	}
	return fmt.Errorf("refused without a reason: %w", err)
}
