package mirror

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/devicetest"
	"holdfast.dev/holdfast/device/faultdev"
	"holdfast.dev/holdfast/device/powercut"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// A leg does not join under a write that it would miss.
func TestJoinWaitsForWrites(t *testing.T) {
	legs := went(t)
	front, faults := faulty(legs)
	m := open(t, front, Options{})
	held := faults[0].Add(dataRule(faultdev.Rule{On: faultdev.Write, Hang: true}, 5*testRegion, testRegion))
	var tasks sync.WaitGroup
	tasks.Go(func() {
		if _, err := m.WriteAt([]byte("under way"), 5*testRegion); err != nil {
			t.Error(err)
		}
	})
	<-held.Reached()
	tasks.Go(func() {
		if err := m.Attach(Leg{Name: "b"}, false); err != nil {
			t.Error(err)
		}
		resyncAll(m)
	})
	time.Sleep(10 * time.Millisecond) // lets a join that does not wait pass
	held.Release()
	tasks.Wait()
	if s := m.Status(); s.Degraded {
		t.Errorf("%+v", s)
	}
	if !bytes.Equal(dataOf(t, legs[0]), dataOf(t, legs[1])) {
		t.Error("the legs differ")
	}
}

// What a device told as another leg does not outlive its becoming this one,
// even if that fails half-way.
func TestFillErasesSuperblocks(t *testing.T) {
	legs := formatted(t, 2)
	m := open(t, legs, Options{Manual: true})
	must(t, m.Remove("b"))
	f := faultdev.New(legs[1].Dev)
	f.Add(faultdev.Rule{On: faultdev.Write, Off: ondisk.HeadOffset, Len: BlockSize, Nth: 2, Forever: true, Err: device.ErrIO})
	if err := m.Add(Leg{"b", f}); !errors.Is(err, device.ErrIO) {
		t.Fatalf("add says %v", err)
	}
	if c := ondisk.ReadCopies(legs[1].Dev); c.Best() != nil {
		t.Error("a superblock is still there")
	}
	if s := m.Status(); len(s.Legs) != 2 || s.Legs[1].State != Failed || s.Legs[1].Present {
		t.Errorf("%+v", s.Legs)
	}
	must(t, m.Replace("b", legs[1]))
	resyncAll(m)
	must(t, m.Close())
	wantSound(t, legs)
}

// A slot of the log that could not be read when a leg came back does not come to
// be its newest.
func TestJoinWritesBothSlots(t *testing.T) {
	legs := formatted(t, 2)
	g := ondisk.NewGeometry(testData, testRegion, guard.None, 0)
	m := open(t, legs, Options{Manual: true})
	for i := range int64(8) {
		put(t, m, i*testRegion, []byte("x"))
	}
	must(t, m.Fail("b"))
	m.Abandon()
	front, faults := faulty(legs)
	m = open(t, front, Options{Manual: true})
	for nth := range 3 { // both slots together, then each
		faults[1].Add(faultdev.Rule{On: faultdev.Read, Off: g.LogOff(), Len: 2 * BlockSize, Nth: 1 + nth, Err: device.ErrIO})
	}
	must(t, m.Attach(Leg{Name: "b"}, false))
	for slot := range 2 {
		buf := get(t, legs[1].Dev, g.LogOff()+int64(slot)*BlockSize, BlockSize)
		var bits ondisk.LogBits
		seq, err := ondisk.DecodeLogBlock(buf, m.pool, 0, slot, &bits)
		if err != nil || seq > 2 {
			t.Errorf("slot %d has sequence %d, %v", slot, seq, err)
		}
	}
}

// Which legs went on alone, by what superblocks say.
func TestWentOn(t *testing.T) {
	a, b, c := uuid.New(), uuid.New(), uuid.New()
	as := func(leg uuid.UUID, s MemberState, since uint64) ondisk.Member {
		return ondisk.Member{Leg: leg, State: s, Since: since}
	}
	top := &ondisk.Superblock{Members: []ondisk.Member{as(a, Failed, 10), as(b, InSync, 1), as(c, Failed, 5)}}
	for _, x := range []struct {
		name             string
		generation, used uint64
		b                MemberState
		want             bool
	}{
		{"merely stale", 9, 9, InSync, false},
		{"ahead by a change that was interrupted", 10, 10, InSync, false},
		{"had failed the other", 10, 10, Failed, true},
		{"had not yet the other", 10, 10, Joining, true},
		{"was used after", 11, 11, Failed, true},
		{"was about to be opened alone", 12, 9, Failed, false},
		{"was opened again after it was used alone", 13, 11, Failed, true},
	} {
		f := &found{sb: &ondisk.Superblock{Index: 0, Generation: x.generation, Used: x.used, Members: []ondisk.Member{as(a, InSync, 1), as(b, x.b, 1), as(c, Failed, 5)}}}
		if got := f.wentOn(top); got != x.want {
			t.Errorf("%s: %v", x.name, got)
		}
	}
}

// A superblock whose flush failed reads well and may be gone after a crash: it
// does not count as the better copy before it is flushed.
func TestUnflushedSuperblock(t *testing.T) {
	r := devicetest.Rand(devicetest.Seed(t), 0)
	base := crashBases(t, guard.CRC32C, 18*BlockSize)[1]
	for nth := 1; nth <= 3; nth++ {
		for n := 1; ; n++ {
			legs, disks := powered(base, r.Uint64(), powercut.Nothing)
			front, faults := faulty(legs)
			faults[0].Add(faultdev.Rule{On: faultdev.Flush, Nth: nth, Err: device.ErrIO})
			if m, err := Open(front, Options{Manual: true}); err == nil {
				m.Abandon()
				t.Fatal("the leg with the quorum was failed by opening")
			} else if !errors.Is(err, ErrMissing) || !errors.Is(err, device.ErrIO) {
				t.Fatal(err)
			}
			disks[0].Supply().CutAfter(n)
			if m, err := Open(legs, Options{Manual: true}); err == nil {
				m.Abandon()
			}
			lost := disks[0].Supply().Lost()
			for range 20 {
				again, _ := powered(disks, r.Uint64(), powercut.Mixed)
				m, err := Open(again, Options{Manual: true})
				if err != nil {
					t.Fatalf("flush %d fails, cut in operation %d: %v", nth, n, err)
				}
				m.Abandon()
			}
			if !lost {
				break
			}
		}
	}
}

// A leg that could not be given everything is not in sync, whatever else is done.
func TestJoiningUntilCopied(t *testing.T) {
	front, faults := faulty(went(t))
	m := open(t, front, Options{Manual: true})
	must(t, m.Attach(Leg{Name: "b"}, false))
	faults[0].Add(dataRule(faultdev.Rule{On: faultdev.Read, Forever: true, Err: device.ErrIO}, 5*testRegion, 512))
	resyncAll(m)
	must(t, m.Flush())
	if s := m.Status(); s.Legs[1].State != Joining || s.Legs[1].RegionsLeft != 1 {
		t.Errorf("%+v", s.Legs)
	}
	faults[0].Heal()
	resyncAll(m)
	if s := m.Status(); s.Legs[1].State != InSync {
		t.Errorf("%+v", s.Legs)
	}
}

// A leg that misses the record that the pool is closed is failed by the others
// only if it cannot open without them, and only while they say that they are open.
func TestLegFailsWhileClosing(t *testing.T) {
	for _, bad := range []int{0, 1} {
		legs := formatted(t, 2)
		front, faults := faulty(legs)
		m := open(t, front, Options{Manual: true})
		put(t, m, 0, []byte("data"))
		must(t, m.Flush())
		must(t, m.Cycle())
		// The second copy: the first says that the pool is closed.
		rule := faults[bad].Add(faultdev.Rule{On: faultdev.Write, Off: ondisk.TailOffset(legs[bad].Dev.Size()), Len: BlockSize, Err: device.ErrIO})
		faults[bad].Add(faultdev.Rule{On: faultdev.Write, Off: ondisk.HeadOffset, Len: BlockSize, Err: device.ErrIO})
		err := m.Close()
		if len(rule.Reached()) == 0 && bad == 1 && err != nil {
			t.Fatal(err)
		}
		if bad == 0 && !errors.Is(err, ErrMissing) || bad == 1 && err != nil {
			t.Errorf("leg %d: close says %v", bad, err)
		}
		for i := range legs {
			m, err := Open(legs[i:i+1], Options{Manual: true})
			if err == nil {
				m.Abandon()
			}
			if i == 1 && bad == 0 && err == nil || i == bad && bad == 1 && err == nil {
				t.Errorf("leg %d fails in closing, and leg %d opens alone", bad, i)
			}
		}
	}
}
