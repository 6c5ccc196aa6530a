package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"
)

// owner is a page cache of one page in region 0, as far as the mirror can see.
type owner struct {
	m     *Mirror
	dirty []byte // written to byte 0 by the next SyncRange
	busy  bool   // mapped or pinned
	err   error
	asked []string
}

func (o *owner) SyncRange(off, n int64) error {
	o.asked = append(o.asked, fmt.Sprintf("sync %d+%d", off/testRegion, n/testRegion))
	if o.dirty != nil && off == 0 {
		if _, err := o.m.WriteAt(o.dirty, 0); err != nil {
			return err
		}
		o.dirty = nil
	}
	return o.err
}

func (o *owner) Quiet(off, n int64) bool {
	o.asked = append(o.asked, fmt.Sprintf("quiet %d+%d", off/testRegion, n/testRegion))
	return !o.busy || off != 0
}

// What each policy leaves on disk after each cycle.
func TestPolicies(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy Policy
		owner  *owner
		// set is the regions with a bit on disk after each cycle. Regions 0, 1
		// and 5 are written before the first.
		set   []string
		asked string
	}{
		{"never", Never, &owner{}, []string{"[0 1 5]", "[0 1 5]"}, "[]"},
		{"idle takes a period", Idle, &owner{}, []string{"[0 1 5]", "[]"}, "[]"},
		{"verified takes one cycle", Verified, &owner{}, []string{"[]", "[]"},
			"[sync 0+2 quiet 0+1 quiet 1+1 sync 5+1 quiet 5+1]"},
		{"verified without an owner", Verified, nil, []string{"[]"}, ""},
		{"a page that may change keeps its region", Verified, &owner{busy: true}, []string{"[0]", "[0]"},
			"[sync 0+2 quiet 0+1 quiet 1+1 sync 5+1 quiet 5+1 sync 0+1 quiet 0+1]"},
		{"a page that was dirty again keeps its region for a cycle", Verified, &owner{dirty: []byte("again")}, []string{"[0]", "[]"},
			"[sync 0+2 quiet 0+1 quiet 1+1 sync 5+1 quiet 5+1 sync 0+1 quiet 0+1]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			legs := formatted(t, 2)
			m := open(t, legs, Options{Manual: true, Policy: c.policy})
			if c.owner != nil {
				c.owner.m = m
				m.SetOwner(c.owner)
			}
			put(t, m, testRegion-2, []byte("over"))
			put(t, m, 5*testRegion, []byte("five"))
			for i, want := range c.set {
				must(t, m.Cycle())
				if got := fmt.Sprint(dirtyOnDisk(t, legs)); got != want {
					t.Errorf("after cycle %d the bits are %s, want %s", i, got, want)
				}
			}
			if c.owner != nil {
				if got := fmt.Sprint(c.owner.asked); got != c.asked {
					t.Errorf("asked %s, want %s", got, c.asked)
				}
				c.owner.busy = false
			}
			must(t, m.Close())
			if got := fmt.Sprint(dirtyOnDisk(t, legs)); got != "[]" {
				t.Errorf("after Close the bits are %s", got)
			}
			wantSound(t, legs)
		})
	}
}

// A write between the mark and the next idle cycle keeps the region.
func TestIdleCountsFromTheLastWrite(t *testing.T) {
	legs := formatted(t, 2)
	m := open(t, legs, Options{Manual: true, Policy: Idle})
	put(t, m, 0, []byte("x"))
	for range 3 {
		must(t, m.Cycle())
		put(t, m, 0, []byte("y"))
	}
	if got := fmt.Sprint(dirtyOnDisk(t, legs)); got != "[0]" {
		t.Errorf("bits are %s, want [0]", got)
	}
}

func TestOwnerThatCannotSync(t *testing.T) {
	legs := formatted(t, 2)
	m := open(t, legs, Options{Manual: true})
	o := &owner{m: m, err: errors.New("no luck")}
	m.SetOwner(o)
	put(t, m, 0, []byte("x"))
	if err := m.Cycle(); !errors.Is(err, o.err) {
		t.Errorf("Cycle says %v", err)
	}
	if c := m.Status().Regions; c.MaybeDirty != 1 {
		t.Errorf("regions are %+v, want one that may be dirty", c)
	}
}

// The first seed's crash: a write begins after the cycle has decided to clear
// the bit. Its bit is on disk again before its data is.
func TestWriteAfterTheDecision(t *testing.T) {
	legs := formatted(t, 2)
	m := open(t, legs, Options{Manual: true})
	put(t, m, 0, []byte("x"))
	must(t, m.flushLegs())
	m.regions.settle(m.regions.mark(), m.full)
	m.regions.mu.Lock()
	m.log.stage(m.regions, false) // the write that clears is on its way
	m.regions.mu.Unlock()
	if m.regions.begin(0, 0) {
		t.Error("a bit that is being cleared counts as durable")
	}
	m.regions.end(0, 0)
	put(t, m, 0, []byte("y"))
	if got := fmt.Sprint(dirtyOnDisk(t, legs)); got != "[0]" {
		t.Errorf("bits are %s, want [0]", got)
	}
}

// Background tasks: the helper clears, the resync runs, Close ends both.
func TestBackground(t *testing.T) {
	legs := formatted(t, 3)
	m := open(t, legs, Options{Manual: true})
	put(t, m, 0, bytes.Repeat([]byte{1}, testData))
	m.Abandon()
	m = open(t, legs, Options{Period: time.Millisecond})
	m.Start()
	for m.Status().Regions.Clean != 16 {
		time.Sleep(time.Millisecond)
	}
	if got := m.Status().Resync.RegionsDone; got != 16 {
		t.Errorf("%d regions were resynced", got)
	}
	must(t, m.Close())
	wantSound(t, legs)
}
