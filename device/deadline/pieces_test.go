package deadline_test

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/faultdev"
)

// Long transfers reach the device in pieces of at most 512 KiB, cut between
// pages; long discards and zeroings at multiples of 256 MiB.
func TestPieces(t *testing.T) {
	const piece, gib = 512 << 10, 1 << 30
	for _, c := range []struct {
		name   string
		do     func(d device.Device, off, n int64) error
		off, n int64
		want   [][2]int64
	}{
		{"short", write, 5, 100, [][2]int64{{5, 100}}},
		{"empty", write, 5, 0, [][2]int64{{5, 0}}},
		{"full", write, 8192, piece, [][2]int64{{8192, piece}}},
		{"long", write, 512, 2*piece + 1, [][2]int64{{512, piece - 512}, {piece, piece}, {2 * piece, 513}}},
		{"read", read, 4097, piece, [][2]int64{{4097, piece - 1}, {4096 + piece, 1}}},
		{"discard", device.Device.Discard, piece, gib / 2, [][2]int64{{piece, gib/4 - piece}, {gib / 4, gib / 4}, {gib / 2, piece}}},
		{"zero", device.Device.WriteZeroes, 0, gib/4 + 1, [][2]int64{{0, gib / 4}, {gib / 4, 1}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, under := watched(gib)
			must(t, c.do(d, c.off, c.n))
			if !slices.Equal(under.ranges, c.want) {
				t.Errorf("the device was given %v, want %v", under.ranges, c.want)
			}
			must(t, d.Close())
		})
	}
}

// Of the transfers under way only two may be that long; those that were given up
// count for as long as the device has their memory.
func TestFewLongPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const long, short, n = 512 << 10, 256 << 10, 6
		d, under := watched(n * long)
		readAll := func(want error) {
			var done sync.WaitGroup
			for i := range int64(n) {
				done.Go(func() {
					if _, err := d.ReadAt(make([]byte, long), i*long); !errors.Is(err, want) {
						t.Errorf("read: %v, want %v", err, want)
					}
				})
			}
			synctest.Wait()
			lengths := map[int64]int{}
			for _, r := range under.ranges {
				lengths[r[1]]++
			}
			if want := map[int64]int{long: 2, short: 4}; !maps.Equal(lengths, want) {
				t.Errorf("by length, the device has been given %v, want %v", lengths, want)
			}
			under.ranges = nil
			if want == nil {
				under.Heal()
			}
			done.Wait()
		}
		for range 2 {
			under.Add(faultdev.Rule{On: faultdev.Read, Hang: true, Forever: true})
			readAll(nil)
			under.ranges = nil
			under.Add(faultdev.Rule{On: faultdev.Read, Hang: true, Forever: true})
			readAll(device.ErrTimeout)
			under.Heal()
			synctest.Wait()
			under.Add(faultdev.Rule{On: faultdev.Flush, Hang: true})
			wantTimeout(t, "flush", d.Flush())
			for range n {
				wantTimeout(t, "read after it", read(d, 0, long))
			}
			under.Heal()
			synctest.Wait()
		}
		must(t, d.Close())
	})
}

func write(d device.Device, off, n int64) error {
	_, err := d.WriteAt(make([]byte, n), off)
	return err
}

func read(d device.Device, off, n int64) error {
	_, err := d.ReadAt(make([]byte, n), off)
	return err
}

// A transfer that fails or hangs in a later piece says how far it came.
func TestHowFarItCame(t *testing.T) {
	const piece = 512 << 10
	for name, c := range map[string]struct {
		rule faultdev.Rule
		n    int
		want error
	}{
		"fails": {faultdev.Rule{Err: device.ErrIO, Short: 700}, piece + 700, device.ErrIO},
		"hangs": {faultdev.Rule{Hang: true}, piece, device.ErrTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, under := watched(4 * piece)
				data := bytes.Repeat([]byte("d"), 3*piece)
				_, err := d.WriteAt(data, 0)
				must(t, err)
				c.rule.On, c.rule.Nth = faultdev.Read|faultdev.Write, 2
				under.Add(c.rule)
				p := make([]byte, 3*piece)
				n, err := d.ReadAt(p, 0)
				if n != c.n || !errors.Is(err, c.want) || !bytes.Equal(p[:n], data[:n]) {
					t.Errorf("read: %d, %v", n, err)
				}
				under.Heal()
				synctest.Wait()
				under.Add(c.rule)
				n, err = d.WriteAt(data, 0)
				if n != c.n || !errors.Is(err, c.want) {
					t.Errorf("write: %d, %v", n, err)
				}
				under.Heal()
				synctest.Wait()
				must(t, d.Close())
			})
		})
	}
}

// Extents come as they are, however many calls they take.
func TestManyExtents(t *testing.T) {
	const chunk = 64 << 10 // what a device in memory is a hole or not in
	d, under := watched(300 * chunk)
	for i := int64(0); i < 300; i += 2 {
		must(t, write(d, i*chunk, 1))
	}
	list := func(e device.Extenter) (all []device.Extent) {
		must(t, e.Extents(5, 299*chunk, func(e device.Extent) bool { all = append(all, e); return true }))
		return all
	}
	if got, want := list(d), list(under.Device); !slices.Equal(got, want) || len(got) != 300 {
		t.Errorf("%d extents, the device beneath has %d", len(got), len(want))
	}
	if fetches := len(under.ranges) - 150; fetches != 5 {
		t.Errorf("they were fetched %d times, 64 at most each", fetches)
	}
	must(t, d.Close())
}
