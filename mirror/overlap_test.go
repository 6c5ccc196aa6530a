package mirror

import (
	"bytes"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"

	"holdfast.dev/holdfast/device/devicetest"
)

// Writers that overlap, and a resync between them, come in one order on every
// leg, and a reader never sees an older version after a newer one, though each
// read may go to another leg.
func TestOverlapsHaveOneOrder(t *testing.T) {
	legs := formatted(t, 3)
	m := open(t, legs, Options{})
	const steps = 1500
	seed := devicetest.Seed(t)
	var tasks sync.WaitGroup
	var done atomic.Bool
	var newest atomic.Uint64
	tasks.Go(func() { // counts in the first eight bytes
		defer done.Store(true)
		p := make([]byte, 512)
		for n := range uint64(steps) {
			binary.LittleEndian.PutUint64(p, n)
			if _, err := m.WriteAt(p, 0); err != nil {
				t.Error(err)
			}
		}
	})
	for range 3 {
		tasks.Go(func() {
			p := make([]byte, 8)
			for !done.Load() {
				before := newest.Load()
				if _, err := m.ReadAt(p, 0); err != nil {
					t.Error(err)
				}
				v := binary.LittleEndian.Uint64(p)
				if v < before {
					t.Errorf("read %d after %d", v, before)
					return
				}
				for now := newest.Load(); v > now && !newest.CompareAndSwap(now, v); now = newest.Load() {
				}
			}
		})
	}
	for w := range uint64(3) {
		r := devicetest.Rand(seed, w)
		tasks.Go(func() {
			for range steps {
				off := 512 + r.IntN(2*testRegion-8192)
				if _, err := m.WriteAt(noise(r, 1+r.IntN(4096)), int64(off)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	tasks.Go(func() {
		for !done.Load() {
			m.regions.begin(1, 1)
			m.regions.spoil(1, 1, 2)
			m.regions.end(1, 1)
			m.ResyncStep()
		}
	})
	tasks.Wait()
	want := dataOf(t, legs[0])
	for _, l := range legs[1:] {
		if !bytes.Equal(dataOf(t, l), want) {
			t.Errorf("leg %s differs", l.Name)
		}
	}
}
