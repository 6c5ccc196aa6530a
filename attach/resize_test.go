package attach

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/device"
)

var resizeOps = flag.Int("resize-ops", 10_000, "how many operations TestResize does, in each mode")

const (
	// resizeWorkers each have a process with the volume mapped, and blocks of
	// resizeBlock pages that only they change.
	resizeWorkers = 3
	resizeBlock   = 4
	// resizeBudget is half of the volume, so that pages leave all the time.
	resizeBudget = housePages * cache.PageSize / 2
	// resizePause leaves processors to those who store and load.
	resizePause = 300 * time.Microsecond
)

// Processes store and load, the server reads, writes and discards, and the volume
// shrinks and grows, all at once. What was cut off or discarded is never seen
// again, what was stored is there unless it was cut off, and where there is no
// volume nothing can be stored.
func TestResize(t *testing.T) {
	t.Run("announced", func(t *testing.T) { resizeIn(t, Announced) })
	t.Run("async", func(t *testing.T) { resizeIn(t, Async) })
}

func resizeIn(t *testing.T, mode Flags) {
	h := newHouseIn(t, mode, Options{}, resizeBudget)
	z := &resized{h: h, rng: newRand(t)}
	z.size.Store(housePages)
	workers := make([]*resizeWorker, resizeWorkers)
	for i := range workers {
		workers[i] = &resizeWorker{z: z, child: h.client(housePages), number: i,
			rng: rand.New(rand.NewPCG(z.rng.Uint64(), 0))}
	}
	var wg, others sync.WaitGroup
	end := make(chan struct{})
	until := func(f func() error) {
		others.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
					if err := f(); err != nil {
						t.Error(err)
						return
					}
					time.Sleep(resizePause)
				}
			}
		})
	}
	until(z.resize)
	until(h.handle.Sync)
	for _, w := range workers {
		wg.Go(func() {
			for i := range *resizeOps / resizeWorkers {
				if err := w.step(); err != nil {
					t.Errorf("operation %d of worker %d: %v", i, w.number, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(end)
	others.Wait()
	z.compare(t, workers)
}

// resized is the volume and what is known of its size.
type resized struct {
	h   *house
	rng *rand.Rand
	// changes is odd while the size changes; otherwise size is it, in pages.
	changes, size atomic.Int64
	// cuts counts, for each page, how often it began to be cut off, and done how
	// often that was over; stored is the last value stored there, and dead what that
	// was when the last cut began that is over.
	cuts, done, stored, dead [housePages]atomic.Int64
}

// resize shrinks the volume, or lets it grow.
func (z *resized) resize() error {
	size := int64(z.rng.IntN(housePages-resizeBlock) + resizeBlock)
	if z.rng.IntN(2) == 0 {
		size = housePages
	}
	z.changes.Add(1)
	old := z.size.Load()
	var before [housePages]int64
	for n := size; n < old; n++ {
		before[n] = z.stored[n].Load()
		z.cuts[n].Add(1)
	}
	err := z.h.mapping.Truncate(size*cache.PageSize, cache.RefusePinned)
	for n := size; n < old; n++ {
		z.dead[n].Store(before[n])
		z.done[n].Add(1)
	}
	z.size.Store(size)
	z.changes.Add(1)
	return err
}

// moment is what can be known of a page at one moment.
type moment struct{ changes, size, cuts, done, dead int64 }

func (z *resized) now(page int64) moment {
	return moment{z.changes.Load(), z.size.Load(), z.cuts[page].Load(), z.done[page].Load(), z.dead[page].Load()}
}

// during says whether the page was there all the time from one moment to another.
func during(from, to moment, page int64) (there, sure bool) {
	return page < from.size, from.changes == to.changes && from.changes%2 == 0
}

type resizeWorker struct {
	z      *resized
	child  *child
	number int
	rng    *rand.Rand
	last   int64 // value stored
	// want is what was last put into a page, and cuts how often the page had been
	// cut off when that began.
	want, cuts [housePages]int64
}

func (w *resizeWorker) step() error {
	block := int64(w.rng.IntN(housePages/resizeBlock/resizeWorkers)*resizeWorkers + w.number)
	page := block*resizeBlock + w.rng.Int64N(resizeBlock)
	from := w.z.now(page)
	var err error
	value := int64(-1)
	switch choice := w.rng.IntN(20); {
	case choice < 7:
		err = w.put(page, from, func(v int64) error { return w.child.request(fmt.Sprintf("put %d %d", page, v), nil) })
	case choice < 9:
		err = w.put(page, from, func(v int64) error {
			_, err := w.z.h.handle.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(v)), place(page))
			return err
		})
	case choice < 10:
		if err = w.z.h.handle.Discard(page*cache.PageSize, cache.PageSize); err == nil {
			w.want[page] = 0
		}
	case choice < 17:
		err = w.child.request(fmt.Sprintf("get %d", page), &value)
	default:
		var p [8]byte
		if _, err = w.z.h.handle.ReadAt(p[:], place(page)); err == nil {
			value = int64(binary.LittleEndian.Uint64(p[:]))
		}
	}
	to := w.z.now(page)
	there, sure := during(from, to, page)
	switch {
	case errors.Is(err, device.ErrOutOfRange), err != nil && strings.Contains(err.Error(), ErrRefused.Error()):
		if sure && there {
			return fmt.Errorf("page %d of %d: %w", page, from.size, err)
		}
		return nil
	case err != nil:
		return err
	case sure && !there:
		return fmt.Errorf("page %d could be had, though the volume has %d", page, from.size)
	case value >= 0:
		return w.check(page, value, from, to)
	}
	return nil
}

// put stores the next value.
func (w *resizeWorker) put(page int64, from moment, store func(v int64) error) error {
	w.last++
	err := store(w.last)
	if err == nil {
		w.want[page], w.cuts[page] = w.last, from.done
		w.z.stored[page].Store(w.last)
	}
	return err
}

// check compares what a page holds with what it may.
func (w *resizeWorker) check(page, value int64, from, to moment) error {
	want := w.want[page]
	cut := to.cuts != w.cuts[page]
	if value == want && (!cut || want > from.dead) || value == 0 && cut {
		return nil
	}
	return fmt.Errorf("page %d holds %d, want %d; cut off since: %v, and %d was there before",
		page, value, want, cut, from.dead)
}

// place is where the value of a page lies in the volume.
func place(page int64) int64 { return page*cache.PageSize + page*8%cache.PageSize }

// request has the child do one line.
func (c *child) request(line string, value *int64) error {
	if _, err := fmt.Fprintln(c.in, line); err != nil {
		return err
	}
	if !c.out.Scan() {
		return fmt.Errorf("the process has ended: %v", c.out.Err())
	}
	got := c.out.Text()
	if value != nil {
		if _, err := fmt.Sscanf(got, "ok %d", value); err == nil {
			return nil
		}
	} else if got == "ok" {
		return nil
	}
	return errors.New(got)
}

// compare looks at everything in the end, in memory and behind it.
func (z *resized) compare(t *testing.T, workers []*resizeWorker) {
	if err := z.h.handle.Sync(); err != nil {
		t.Fatal(err)
	}
	sector := make([]byte, device.SectorSize)
	for page := range z.size.Load() {
		at := place(page)
		if _, err := z.h.backing.ReadAt(sector, at&^(device.SectorSize-1)); err != nil {
			t.Fatal(err)
		}
		value := int64(binary.LittleEndian.Uint64(sector[at%device.SectorSize:]))
		now := z.now(page)
		if n := int(page/resizeBlock) % resizeWorkers; page/resizeBlock < housePages/resizeBlock/resizeWorkers*resizeWorkers {
			if err := workers[n].check(page, value, now, now); err != nil {
				t.Errorf("in the backing: %v", err)
			}
		}
	}
}
