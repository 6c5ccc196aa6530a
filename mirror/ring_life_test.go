package mirror

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/devicetest"
	"holdfast.dev/holdfast/device/powercut"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/internal/rangelock"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// forced opens a pool on one of its legs without the other.
func forced(t testing.TB, legs []Leg, i int) *Mirror {
	t.Helper()
	return open(t, legs[i:i+1], Options{Manual: true, Without: []string{identities(legs)[1-i].leg}})
}

// A leg that comes back while there is something in the ring that it lacks has all
// of it when it is in sync, also without the others.
func TestJoinedLegHasTheRing(t *testing.T) {
	legs := ringed(t, 2, guard.CRC32C)
	m := open(t, legs, Options{Manual: true})
	must(t, m.Fail("b"))
	batch(t, m, block(3, 3))
	must(t, m.Flush())
	must(t, m.Attach(legs[1], false))
	batch(t, m, block(4, 4))
	resyncAll(m)
	batch(t, m, block(5, 5))
	must(t, m.Flush())
	if state(m, 1) != InSync {
		t.Fatalf("leg b is %v", state(m, 1))
	}
	m.Abandon()
	for i := range legs {
		m := forced(t, legs, 1-i)
		for b := int64(3); b <= 5; b++ {
			if got := get(t, m, b*BlockSize, 1); got[0] != byte(b) {
				t.Errorf("leg %d alone reads block %d as %d", 1-i, b, got[0])
			}
		}
		m.Abandon()
	}
}

// What a leg had in its ring when it went on alone is gone when it is let in again,
// though its headers were the newer.
func TestOldRingIsForgotten(t *testing.T) {
	for extra := range 2 {
		legs := ringed(t, 2, guard.CRC32C)
		used(t, legs)
		for range 4 + extra { // so that its newest header is in either slot
			m := forced(t, legs, 1)
			batch(t, m, block(3, 99), block(4, 99))
			must(t, m.Flush())
			m.Abandon()
		}
		m := forced(t, legs, 0)
		batch(t, m, block(3, 3))
		must(t, m.Attach(legs[1], true))
		resyncAll(m)
		batch(t, m, block(5, 5))
		must(t, m.Flush())
		m.Abandon()
		m = open(t, legs, Options{Manual: true})
		for b, want := range []byte{3: 3, 4: 0, 5: 5} {
			if got := get(t, m, int64(b)*BlockSize, 1); got[0] != want && b >= 3 {
				t.Errorf("block %d reads as %d", b, got[0])
			}
		}
		if s := m.Status(); s.Degraded || s.Journal.Lost != 0 || s.Legs[1].ChecksumErrors != 0 {
			t.Errorf("%+v", s)
		}
	}
}

// Once replay has begun each leg alone leads to the same end, wherever it is cut
// off: no block is half of what only another leg's ring has.
func TestReplayLeavesNoBlockTorn(t *testing.T) {
	r := devicetest.Rand(devicetest.Seed(t), 0)
	base := crashBases(t, guard.CRC32C, 18*BlockSize)[1]
	for n := 1; ; n++ {
		done := false
		for range 40 {
			legs, disks := powered(base, r.Uint64(), powercut.Nothing)
			m := open(t, legs, Options{Manual: true})
			put(t, m, 2*BlockSize, bytes.Repeat([]byte{1}, BlockSize))
			must(t, m.Flush())
			batch(t, m, device.Part{P: bytes.Repeat([]byte{2}, BlockSize), Off: 2 * BlockSize})
			m.Abandon()
			legs, disks = powered(disks, r.Uint64(), powercut.Mixed)
			disks[0].Supply().CutAfter(n)
			if m, err := Open(legs, Options{Manual: true}); err == nil {
				m.Abandon()
			}
			done = !disks[0].Supply().Lost()
			legs, _ = powered(disks, r.Uint64(), powercut.Mixed)
			for i := range legs {
				m := forced(t, legs, i)
				got := get(t, m, 2*BlockSize, BlockSize)
				if !bytes.Equal(got, bytes.Repeat(got[:1], BlockSize)) || got[0] == 0 || m.Status().Guards.Undecided != 0 {
					t.Fatalf("cut in operation %d: leg %d alone has a torn block, %+v", n, i, m.Status().Guards)
				}
				m.Abandon()
			}
		}
		if done {
			return
		}
	}
}

// hooked is a device that calls a function before it reads or writes, and after it
// has flushed.
type hooked struct {
	device.Device
	onRead, onWrite, onFlush func(off int64)
}

func (h *hooked) ReadAt(p []byte, off int64) (int, error) {
	if h.onRead != nil {
		h.onRead(off)
	}
	return h.Device.ReadAt(p, off)
}

func (h *hooked) WriteAt(p []byte, off int64) (int, error) {
	if h.onWrite != nil {
		h.onWrite(off)
	}
	return h.Device.WriteAt(p, off)
}

func (h *hooked) Flush() error {
	err := h.Device.Flush()
	if h.onFlush != nil {
		h.onFlush(0)
	}
	return err
}

// hookedPool returns an open pool on one leg with hooks, and on one without.
func hookedPool(t testing.TB) (*Mirror, *hooked) {
	t.Helper()
	legs := ringed(t, 2, guard.CRC32C)
	h := &hooked{Device: legs[0].Dev}
	legs[0].Dev = h
	return open(t, legs, Options{Manual: true}), h
}

// What is written to the ring while the legs are being flushed is not taken for
// durable, and so not taken home.
func TestMarkIsBeforeTheFlush(t *testing.T) {
	m, h := hookedPool(t)
	batch(t, m, block(1, 1))
	h.onFlush = func(int64) {
		h.onFlush = nil
		batch(t, m, block(2, 2))
	}
	must(t, m.Flush())
	var home []uint64
	for _, v := range m.ring.j.Checkpoint(1 << 30).Home {
		home = append(home, v.Block)
	}
	if fmt.Sprint(home) != "[1]" {
		t.Errorf("blocks %v are durable", home)
	}
}

// A block that leaves the ring while it is read there is read at home, and no leg
// is charged with what has come to lie in its place.
func TestBlockLeavesTheRingWhileRead(t *testing.T) {
	m, h := hookedPool(t)
	batch(t, m, block(1, 1))
	must(t, m.Flush())
	c := m.ring.j.Checkpoint(1 << 30)
	must(t, m.takeHome(c.Home, false))
	must(t, m.Flush())
	a := m.geo.Areas[ondisk.AreaJournal]
	h.onRead = func(off int64) {
		if off >= a.Off && off < a.End() {
			h.onRead = nil
			_, err := m.release(c)
			must(t, err)
			for i := range int64(20) { // around the ring
				batch(t, m, block(20+i, 9))
			}
			put(t, h.Device, a.Off+2*BlockSize, make([]byte, 8*BlockSize))
		}
	}
	m.leg(1).reading.Add(1)
	defer m.leg(1).reading.Add(-1)
	if got := get(t, m, BlockSize, 1); got[0] != 1 || h.onRead != nil {
		t.Errorf("it reads as %d", got[0])
	}
	if n := m.Status().Legs[0].ChecksumErrors; n != 0 {
		t.Errorf("the leg is charged with %d", n)
	}
}

// While a block of the ring is being healed its room is not used again.
func TestHealingKeepsTheRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, h := hookedPool(t)
		batch(t, m, block(1, 1))
		must(t, m.Flush())
		v := m.ring.held(BlockSize, 1, nil)
		c := m.ring.j.Checkpoint(1 << 30)
		must(t, m.takeHome(c.Home, false))
		must(t, m.Flush())
		put(t, h.Device, m.ring.j.Pieces(&v[0], nil)[0].Off, []byte{99})
		h.onWrite = func(int64) {
			h.onWrite = nil
			go func() {
				if _, err := m.release(c); err != nil {
					t.Error(err)
				}
			}()
			synctest.Wait()
			if !m.ring.j.Holds(&v[0]) {
				t.Error("its room may be used again")
			}
		}
		m.leg(1).reading.Add(1)
		if got := get(t, m, BlockSize, 1); got[0] != 1 || h.onWrite != nil {
			t.Errorf("it reads as %d", got[0])
		}
		m.leg(1).reading.Add(-1)
		synctest.Wait()
		if m.ring.j.Holds(&v[0]) {
			t.Error("its room was never given back")
		}
		must(t, m.Close())
	})
}

// What replay writes home is remembered for a leg that is not there.
func TestReplayIsRemembered(t *testing.T) {
	legs := ringed(t, 2, guard.CRC32C)
	m := open(t, legs, Options{Manual: true})
	must(t, m.Fail("b"))
	must(t, m.Cycle())
	batch(t, m, block(3, 3))
	must(t, m.Flush())
	for range 2 { // the second time there is nothing in the ring
		m.Abandon()
		m = open(t, legs, Options{Manual: true})
	}
	must(t, m.Attach(legs[1], false))
	resyncAll(m)
	must(t, m.Close())
	wantSound(t, legs)
	if got := dataOf(t, legs[1])[3*BlockSize]; got != 3 {
		t.Errorf("the leg that was away has %d", got)
	}
}

// A block goes home with its range held: nobody looks at its tuple meanwhile, and
// none goes home when the pool is closed.
func TestBlocksGoHomeUnderTheirRange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := hookedPool(t)
		batch(t, m, block(1, 1), block(3, 3))
		must(t, m.Flush())
		h := m.ranges.Acquire(3*BlockSize, 1, rangelock.Shared)
		var err error
		go func() { err = m.Checkpoint() }()
		synctest.Wait()
		for b, want := range []byte{1: 1, 3: 0} {
			if got := get(t, m.leg(1).dev, m.geo.DataOff()+int64(b)*BlockSize, 1); got[0] != want {
				t.Errorf("at home block %d is %d", b, got[0])
			}
		}
		m.ranges.Release(h)
		synctest.Wait()
		must(t, err)
		must(t, m.Close())
	})
}

// Replay writes data: so it comes after the record that the pool is open, and with
// the bits of its regions durable.
func TestReplayIsInAnOpenPool(t *testing.T) {
	legs := ringed(t, 2, guard.CRC32C)
	m := open(t, legs, Options{Manual: true})
	batch(t, m, block(3, 3))
	m.Abandon()
	h := &hooked{Device: legs[1].Dev}
	seen := 0
	h.onWrite = func(off int64) {
		if off < m.geo.DataOff() || off >= m.geo.Areas[ondisk.AreaData].End() {
			return
		}
		seen++
		for i, l := range legs {
			c := ondisk.ReadCopies(l.Dev)
			if sb := c.Best(); sb.State != ondisk.PoolOpen || sb.Used != sb.Generation || !c.Settled() {
				t.Errorf("leg %d is in state %d", i, sb.State)
			}
		}
		if set := dirtyOnDisk(t, legs); !slices.Contains(set, 0) {
			t.Errorf("regions %v are marked", set)
		}
	}
	m = open(t, []Leg{legs[0], {legs[1].Name, h}}, Options{Manual: true})
	if seen != 1 || m.Status().Journal.Replayed != 1 {
		t.Errorf("%d writes, %+v", seen, m.Status().Journal)
	}
}
