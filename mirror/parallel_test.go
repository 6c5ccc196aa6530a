package mirror

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/devicetest"
	"holdfast.dev/holdfast/device/powercut"
	"holdfast.dev/holdfast/internal/guard"
)

const (
	writers       = 4
	writerSectors = crashSectors / writers * 5 / 6 // so that writers share regions
)

// TestCrashInParallel cuts the power under several writers, the helper and the
// resync at once, so that legs are caught in the same operation, and checks as
// TestCrash does. How the tasks interleave does not follow from the seed.
func TestCrashInParallel(t *testing.T) {
	all := []bases{crashBases(t, guard.None, NoJournal), crashBases(t, guard.CRC32C, crashRings[2])}
	seed := devicetest.Seed(t)
	for i := range uint64(120) {
		if err := crashInParallel(devicetest.Rand(seed, i), all[i%2]); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
}

func crashInParallel(r *rand.Rand, bases bases) error {
	legs, disks := powered(bases[1+r.IntN(MaxLegs-1)], r.Uint64(), powercut.Nothing)
	models := make([]*model, writers)
	for w := range models {
		models[w] = newModel(writerSectors * device.SectorSize)
	}
	for range 2 {
		disks[0].Supply().CutAfter(1 + r.IntN(300))
		m, err := Open(legs, Options{Period: time.Microsecond, Journal: []JournalMode{JournalAuto, JournalAlways}[r.IntN(2)]})
		if err == nil {
			m.Start()
			err = runWriters(m, r, models)
			m.Abandon()
		}
		if err != nil && !errors.Is(err, powercut.ErrPowerLost) {
			return err
		}
		disks = disks[0].Supply().Survivors(r, powercut.Mixed)
		legs, disks = powered(disks, r.Uint64(), powercut.Nothing)
		for _, md := range models {
			md.crashed()
		}
	}
	c := &crash{rng: r, model: joined(models), disks: disks}
	for i := range c.touched {
		c.touched[i] = true
	}
	return c.recover(disks)
}

func runWriters(m *Mirror, r *rand.Rand, models []*model) error {
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for w, md := range models {
		r := devicetest.Rand(r.Uint64(), 0)
		wg.Go(func() { errs[w] = writeOwn(m, r, md, w*writerSectors) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// writeOwn writes, reads and flushes the sectors of one writer.
func writeOwn(m *Mirror, r *rand.Rand, md *model, base int) error {
	for range 30 {
		first := r.IntN(writerSectors)
		n := 1 + r.IntN(min(writerSectors-first, 20))
		off := int64(base+first) * device.SectorSize
		switch version, p := md.bytes(n); r.IntN(4) {
		case 0:
			if m.Flush() == nil {
				md.flushed()
			}
		case 1:
			if _, err := m.ReadAt(p, off); err != nil {
				return err
			}
			if err := md.read(first, p); err != nil {
				return fmt.Errorf("writer at sector %d: %w", base, err)
			}
		default:
			err := writeSomehow(m, p, off)
			md.wrote(first, n, version, err == nil)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// joined returns the writers' models as one of the whole pool.
func joined(models []*model) *model {
	all := newModel(crashData)
	all.crashed()
	for w, md := range models {
		copy(all.may[w*writerSectors:], md.may)
	}
	return all
}
