package holdfast

import (
	"slices"
	"sync"
	"testing"
	"time"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/mirror"
	"holdfast.dev/holdfast/volume"
)

// tally is a device that counts what changes it.
type tally struct {
	device.Device
	mu              sync.Mutex
	writes, flushes int
	scattered       []int // how many parts were written at once
}

func (d *tally) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes++
	return d.Device.WriteAt(p, off)
}

func (d *tally) ReadScattered(parts []device.Part) error {
	return device.ReadScattered(d.Device, parts)
}
func (d *tally) WriteScattered(parts []device.Part) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.scattered = append(d.scattered, len(parts))
	return device.WriteScattered(d.Device, parts)
}

func (d *tally) Flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.flushes++
	return d.Device.Flush()
}

// tallied returns an open pool with one volume on legs in memory.
func tallied(t *testing.T, legs int) (*floors, []*tally) {
	t.Helper()
	const size = 4 * mib
	var tallies []*tally
	var given []mirror.Leg
	for range legs {
		d := &tally{Device: device.NewMem(mirror.LegSize(volume.PoolSize(size)))}
		tallies = append(tallies, d)
		given = append(given, mirror.Leg{Dev: d})
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(mirror.Format(given, mirror.FormatOptions{Size: volume.PoolSize(size)}))
	f := &floors{}
	var err error
	f.mirror, err = mirror.Open(given, mirror.Options{Log: quiet})
	must(err)
	must(volume.Format(f.mirror))
	must(f.openTable())
	_, err = f.table.Create("main", size)
	must(err)
	must(f.openCache(cache.Options{Log: quiet, Age: 3600e9}, func(string) cache.Stability { return cache.StabilityWait }))
	t.Cleanup(func() {
		if err := f.close(); err != nil {
			t.Error(err)
		}
	})
	return f, tallies
}

// A sync of scattered pages takes one write and one flush of each leg, whether
// they were written as a whole or in part.
func TestSyncOfScatteredPages(t *testing.T) {
	f, legs := tallied(t, 2)
	m, _ := f.find(func(mapped) bool { return true })
	for f.mirror.Status().Resync.RegionsLeft > 0 { // it has ranges of its own
		time.Sleep(time.Millisecond)
	}
	for _, n := range []int{cache.PageSize, 100} {
		for i := range int64(32) {
			if _, err := m.handle.WriteAt(make([]byte, n), i*3*cache.PageSize); err != nil {
				t.Fatal(err)
			}
		}
		for _, d := range legs {
			d.writes, d.flushes = 0, 0
		}
		if err := m.handle.Sync(); err != nil {
			t.Fatal(err)
		}
		for i, d := range legs {
			if d.writes != 1 || d.flushes != 1 {
				t.Errorf("leg %d, %d bytes in each page: %d writes and %d flushes", i, n, d.writes, d.flushes)
			}
		}
	}
	if s := f.mirror.Status(); s.Journal.Transactions != 2 || s.Journal.Blocks != 32 {
		t.Errorf("%+v", s.Journal)
	}
}

// Scattered pages that nobody syncs are written home in one turn of the legs, once
// their regions are marked.
func TestWriteOutOfScatteredPages(t *testing.T) {
	f, legs := tallied(t, 2)
	m, _ := f.find(func(mapped) bool { return true })
	for f.mirror.Status().Resync.RegionsLeft > 0 {
		time.Sleep(time.Millisecond)
	}
	for range 2 {
		for _, d := range legs {
			d.writes, d.flushes, d.scattered = 0, 0, nil
		}
		for i := range int64(32) {
			if _, err := m.handle.WriteAt(make([]byte, cache.PageSize), i*3*cache.PageSize); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.mapping.SyncRange(0, m.mapping.Size()); err != nil {
			t.Fatal(err)
		}
	}
	for i, d := range legs {
		if d.writes != 0 || d.flushes != 0 || !slices.Equal(d.scattered, []int{32}) {
			t.Errorf("leg %d: %d writes, %v together and %d flushes", i, d.writes, d.scattered, d.flushes)
		}
	}
}
