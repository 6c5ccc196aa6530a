package mirror

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/devicetest"
	"holdfast.dev/holdfast/device/faultdev"
	"holdfast.dev/holdfast/internal/guard"
)

// What a leg was charged with is known after it was opened again, and when it was
// taken out and brought back; until it is cleared, of one leg or of all.
func TestErrorsAreRemembered(t *testing.T) {
	r := devicetest.Rand(devicetest.Seed(t), 0)
	legs, _ := guarded(t, 3, guard.CRC32C, r)
	g := geometryOf(t, legs[0])
	m := open(t, legs, Options{Manual: true})
	for i, l := range m.legs() {
		l.recall(LegErrors{ReadErrors: uint64(i), WriteErrors: 2, Timeouts: 1, ChecksumErrors: 7})
	}
	must(t, m.Close())
	s := m.Status()
	past := s.Past()

	spoils[0].do(t, r, legs[1], g, 5)
	m = open(t, legs, Options{Manual: true, Past: past})
	must(t, m.Scrub(ScrubOptions{}))
	want := LegErrors{ReadErrors: 1, WriteErrors: 2, Timeouts: 1, ChecksumErrors: 8}
	if got := m.Status().Legs[1].LegErrors; got != want {
		t.Errorf("after it was opened again: %+v, want %+v", got, want)
	}
	must(t, m.Fail("b"))
	if got := m.Status().Legs[1].LegErrors; got != want {
		t.Errorf("after it was taken out: %+v, want %+v", got, want)
	}
	must(t, m.Attach(legs[1], false))
	resyncAll(m)
	if got := m.Status().Legs[1].LegErrors; got != want {
		t.Errorf("after it came back: %+v, want %+v", got, want)
	}
	must(t, m.ClearErrors("b"))
	if l := m.Status().Legs; l[1].LegErrors != (LegErrors{}) || l[2].LegErrors == (LegErrors{}) {
		t.Errorf("after one was cleared: %+v", l)
	}
	if err := m.ClearErrors("nobody"); !errors.Is(err, ErrNoLeg) {
		t.Errorf("of nobody: %v", err)
	}
	m.undecided.Store(3)
	must(t, m.ClearErrors(""))
	s = m.Status()
	if p := s.Past(); len(p.Errors) != 0 || s.Guards.Undecided != 0 {
		t.Errorf("after all were cleared: %+v, %+v", p, s.Guards)
	}
	m.leg(2).recall(want)
	must(t, m.Fail("c"))
	must(t, m.Replace("c", Leg{"d", kept{device.NewMem(LegSize(rotData))}}))
	if got := m.Status().Legs[2].LegErrors; got != (LegErrors{}) {
		t.Errorf("another in its place has %+v", got)
	}
	must(t, m.Close())
	if err := m.ClearErrors(""); !errors.Is(err, device.ErrClosed) {
		t.Errorf("of a closed pool: %v", err)
	}
}

// A leg that was cleared may fail as often again before it is given up.
func TestClearForgivesALeg(t *testing.T) {
	r := devicetest.Rand(devicetest.Seed(t), 0)
	legs, _ := guarded(t, 2, guard.CRC32C, r)
	g := geometryOf(t, legs[0])
	m := open(t, legs, Options{Manual: true})
	for range 2 {
		put(t, legs[1].Dev, g.DataOff(), noise(r, maxFaults*BlockSize))
		must(t, m.Scrub(ScrubOptions{}))
		if st := m.Status().Legs[1].State; st != InSync {
			t.Fatalf("the leg is %v", st)
		}
		must(t, m.ClearErrors("b"))
	}
}

// The past of another pool is none, and what makes no sense is not believed.
func TestPastIsChecked(t *testing.T) {
	legs := formatted(t, 1)
	m := open(t, legs, Options{Manual: true})
	s := m.Status()
	must(t, m.Close())
	right := ScrubStatus{State: ScrubRunning, Done: 2 * BlockSize, Total: testData, Bad: 3, Share: 0.5}
	for _, c := range []struct {
		what string
		pool string
		st   func(*ScrubStatus)
		want ScrubStatus
	}{
		{"right", s.Pool, func(*ScrubStatus) {}, ScrubStatus{State: ScrubInterrupted, Done: 2 * BlockSize, Total: testData, Bad: 3, Share: 0.5}},
		{"told to stop", s.Pool, func(st *ScrubStatus) { st.State = ScrubStopping }, ScrubStatus{State: ScrubStopped, Done: 2 * BlockSize, Total: testData, Bad: 3, Share: 0.5}},
		{"of another pool", "x", func(*ScrubStatus) {}, ScrubStatus{State: ScrubNone}},
		{"no state", s.Pool, func(st *ScrubStatus) { st.State = "frob" }, ScrubStatus{State: ScrubNone}},
		{"beyond the end", s.Pool, func(st *ScrubStatus) { st.Done = testData + BlockSize }, ScrubStatus{State: ScrubInterrupted, Total: testData, Share: 0.5}},
		{"negative", s.Pool, func(st *ScrubStatus) { st.Done = -BlockSize }, ScrubStatus{State: ScrubInterrupted, Total: testData, Share: 0.5}},
		{"within a block", s.Pool, func(st *ScrubStatus) { st.Done++ }, ScrubStatus{State: ScrubInterrupted, Total: testData, Share: 0.5}},
		{"of another size", s.Pool, func(st *ScrubStatus) { st.Total++ }, ScrubStatus{State: ScrubInterrupted, Total: testData, Share: 0.5}},
		{"no share", s.Pool, func(st *ScrubStatus) { st.Share = 7 }, ScrubStatus{State: ScrubInterrupted, Done: 2 * BlockSize, Total: testData, Bad: 3}},
	} {
		st := right
		c.st(&st)
		m := open(t, legs, Options{Manual: true, Past: Past{Pool: c.pool, Scrub: st}})
		if got := m.Status().Scrub; got != c.want {
			t.Errorf("%s: %+v\nwant %+v", c.what, got, c.want)
		}
		run, err := m.ResumeScrub()
		must(t, err)
		if (run != nil) != (c.want.State == ScrubInterrupted) {
			t.Errorf("%s: it goes on: %v", c.what, run != nil)
		}
		if run != nil {
			must(t, run())
		}
		must(t, m.Close())
	}
}

// A scrub that is cut off anywhere goes on from there, and in the end has counted
// each bad block once, though nothing was healed.
func TestScrubGoesOn(t *testing.T) {
	r := devicetest.Rand(devicetest.Seed(t), 0)
	legs, _ := guarded(t, 2, guard.CRC32C, r)
	g := geometryOf(t, legs[0])
	rotten := r.Perm(rotData / BlockSize)[:maxFaults/2]
	for _, b := range rotten {
		spoils[0].do(t, r, legs[1], g, int64(b))
	}
	var past Past
	cuts, last := 0, int64(0)
	for {
		// The leg stops the program at some read of data.
		reads := -1
		var m *Mirror
		counted := []Leg{legs[0], {"b", watched{legs[1].Dev, func() {
			if reads--; reads == 0 {
				m.stopping.Store(true)
			}
		}}}}
		m = open(t, counted, Options{Manual: true, Past: past})
		run, err := m.ResumeScrub()
		if past.Pool == "" {
			run, err = m.BeginScrub(ScrubOptions{CheckOnly: true, Share: 0.25})
		}
		must(t, err)
		reads = 1 + r.IntN(20)
		err = run()
		s := m.Status()
		past = s.Past()
		m.stopping.Store(false)
		m.Abandon()
		if err == nil {
			break
		}
		if !errors.Is(err, ErrStopped) || past.Scrub.State != ScrubInterrupted || past.Scrub.Done < last {
			t.Fatalf("after %d of it: %v, %+v", last, err, past.Scrub)
		}
		cuts, last = cuts+1, past.Scrub.Done
	}
	if cuts == 0 {
		t.Error("it was never cut off")
	}
	st := past.Scrub
	if st.State != ScrubDone || st.Bad != int64(len(rotten)) || st.Healed != 0 || !st.CheckOnly || st.Share != 0.25 || st.Done != rotData {
		t.Errorf("in the end it is %+v, with %d rotten blocks", st, len(rotten))
	}
}

// watched is a leg that calls a function at each read.
type watched struct {
	device.Device
	read func()
}

func (w watched) ReadAt(p []byte, off int64) (int, error) {
	w.read()
	return w.Device.ReadAt(p, off)
}

// What happens is told with its kind, the leg and the extent.
func TestEventsOfRot(t *testing.T) {
	r := devicetest.Rand(devicetest.Seed(t), 0)
	legs, _ := guarded(t, 2, guard.CRC32C, r)
	g := geometryOf(t, legs[0])
	for _, b := range []int64{3, 4, 9, 20} {
		spoils[0].do(t, r, legs[1], g, b)
	}
	spoils[0].do(t, r, legs[0], g, 20)
	unreadable := faultdev.New(legs[0].Dev)
	unreadable.Add(faultdev.Rule{On: faultdev.Read, Err: device.ErrIO, Forever: true, Off: g.DataOff() + 30*BlockSize, Len: BlockSize})
	legs[0].Dev = kept{unreadable}
	var log bytes.Buffer
	m := open(t, legs, logged(&log))
	wanted := func(what string, lines ...string) {
		t.Helper()
		for _, l := range lines {
			if !strings.Contains(log.String(), l) {
				t.Errorf("%s: %s is not told:\n%s", what, l, &log)
			}
		}
	}
	must(t, m.Scrub(ScrubOptions{CheckOnly: true}))
	wanted("check", "event=scrub-began check_only=true",
		"event=block-bad leg=b kind=checksum offset=12288 length=8192", "event=block-bad leg=b kind=checksum offset=36864 length=4096",
		"event=block-bad leg=a kind=read offset=122880 length=4096", "event=scrub-ended bad=6 healed=0 lost=1 checked=4194304 of=4194304")
	if strings.Contains(log.String(), "block-healed") || strings.Contains(log.String(), "block-lost") {
		t.Errorf("a check says:\n%s", &log)
	}
	log.Reset()
	must(t, m.Scrub(ScrubOptions{}))
	wanted("scrub", "event=block-healed leg=b kind=checksum offset=12288 length=8192", "event=block-healed leg=b kind=checksum offset=36864 length=4096",
		"event=block-healed leg=a kind=read offset=122880 length=4096", "event=block-lost offset=81920 length=4096",
		"event=leg-error leg=a op=read leg_offset=", "event=scrub-ended bad=6 healed=4 lost=1")
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "block-healed") && strings.Contains(line, "offset=81920") {
			t.Errorf("of a lost block it says %s", line)
		}
	}
	log.Reset()
	run, err := m.BeginScrub(ScrubOptions{})
	must(t, err)
	m.StopScrub()
	if st := m.Status().Scrub; st.State != ScrubStopping || !st.Active() {
		t.Errorf("told to stop it is %+v", st)
	}
	if err := run(); !errors.Is(err, ErrStopped) {
		t.Errorf("stopped: %v", err)
	}
	wanted("stop", "event=scrub-stopped bad=0")
	if st := m.Status().Scrub; st.State != ScrubStopped || st.Active() {
		t.Errorf("stopped it is %+v", st)
	}
}

// Legs that differ where no guard says what is right are told of too.
func TestEventsOfDifferences(t *testing.T) {
	legs := formatted(t, 2)
	used(t, legs)
	put(t, legs[1].Dev, geometryOf(t, legs[1]).DataOff(), []byte("other"))
	var log bytes.Buffer
	m := open(t, legs, logged(&log))
	must(t, m.Scrub(ScrubOptions{}))
	if !strings.Contains(log.String(), "event=block-healed leg=b kind=difference offset=0 length=4096") {
		t.Errorf("logged %s", &log)
	}
}

// A leg that does not answer is told from one that says no.
func TestEventOfTimeout(t *testing.T) {
	legs := formatted(t, 2)
	hung := faultdev.New(legs[1].Dev)
	hung.Add(faultdev.Rule{On: faultdev.Change, Err: device.ErrTimeout, Forever: true, Off: geometryOf(t, legs[1]).DataOff(), Len: testData})
	legs[1].Dev = kept{hung}
	var log bytes.Buffer
	m := open(t, legs, logged(&log))
	put(t, m, 0, []byte("x"))
	for _, want := range []string{"event=leg-timeout leg=b op=write leg_offset=", "event=leg-failed leg=b"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s is not told: %s", want, &log)
		}
	}
	if l := m.Status().Legs[1]; l.Timeouts != 1 || l.WriteErrors != 1 {
		t.Errorf("charged %+v", l)
	}
}

// A resync is told of when it begins and when it is done, and how far it is in
// between.
func TestResyncBout(t *testing.T) {
	var log bytes.Buffer
	legs := apart(t)
	m := open(t, legs, logged(&log))
	m.ResyncStep()
	if y := m.Status().Resync; y.RegionsTotal != 2 || y.RegionsLeft != 1 {
		t.Errorf("half way: %+v", y)
	}
	resyncAll(m)
	if y := m.Status().Resync; y.RegionsTotal != 0 || y.RegionsLeft != 0 {
		t.Errorf("at the end: %+v", y)
	}
	for _, want := range []string{"event=unclean-open regions=2 of=16", "event=resync-began regions=2", "event=resync-ended regions=2 bytes_written=32768"} {
		if strings.Count(log.String(), want) != 1 {
			t.Errorf("%s is not told once: %s", want, &log)
		}
	}
	log.Reset()
	must(t, m.Fail("b"))
	put(t, m, 0, []byte("x"))
	must(t, m.Attach(legs[1], false))
	resyncAll(m)
	for _, want := range []string{"event=leg-taken-out leg=b", "event=leg-joining how=attach leg=b", "event=resync-began regions=", "event=leg-in-sync leg=b"} {
		if strings.Count(log.String(), want) != 1 {
			t.Errorf("%s is not told once: %s", want, &log)
		}
	}
}

// The rest that others have follows from the share, within a bound.
func TestRest(t *testing.T) {
	for _, c := range []struct {
		share      float64
		took, want time.Duration
	}{
		{0, time.Second, 0}, {1, time.Second, 0}, {0.5, time.Second, time.Second}, {0.25, time.Second, 3 * time.Second},
		{0.5, -time.Second, 0}, {0.001, time.Minute, restMost},
	} {
		if got := rest(c.share, c.took); got != c.want {
			t.Errorf("a share of %v of what took %v: %v, want %v", c.share, c.took, got, c.want)
		}
	}
	m := open(t, formatted(t, 1), Options{Manual: true, ResyncShare: 0.5})
	if got := m.Status().Resync.Share; got != 0.5 {
		t.Errorf("the share is %v", got)
	}
	must(t, m.SetResyncShare(0.125))
	if got := m.Status().Resync.Share; got != 0.125 {
		t.Errorf("the share is %v", got)
	}
	if err := m.SetResyncShare(1.5); !errors.Is(err, ErrInvalid) {
		t.Errorf("a share of 1.5: %v", err)
	}
	if _, err := Open(formatted(t, 1), Options{ResyncShare: -1}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a share of -1: %v", err)
	}
	if _, err := m.BeginScrub(ScrubOptions{Share: 2}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a scrub's share of 2: %v", err)
	}
}

// A pool that is closed while its resync rests does not wait for it, or for anything
// that comes after.
func TestCloseCutsARestShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const region = 2 * mendPiece // so that it rests within one
		legs := memLegs(2, LegSize(region))
		must(t, Format(legs, FormatOptions{Size: region, RegionSize: region}))
		m, err := Open(legs, Options{Manual: true})
		must(t, err)
		put(t, m, 0, make([]byte, region))
		m.Abandon()
		slow := []Leg{legs[0], {"b", watched{legs[1].Dev, func() { time.Sleep(50 * time.Millisecond) }}}}
		m, err = Open(slow, Options{ResyncShare: 0.01})
		must(t, err)
		m.Start()
		time.Sleep(time.Second)
		synctest.Wait() // it has read a piece in 50 ms, and rests for nearly five seconds
		began := time.Now()
		must(t, m.Close())
		if took := time.Since(began); took > time.Second {
			t.Errorf("to close took %v", took)
		}
	})
}

// A resync takes its share of the time and no more; how fast it is follows.
func TestResyncLeavesTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		legs := apart(t)
		const each = time.Second
		slow := []Leg{legs[0], {"b", watched{legs[1].Dev, func() { time.Sleep(each) }}}}
		m, err := Open(slow, Options{Log: slog.New(slog.DiscardHandler), ResyncShare: 0.25})
		must(t, err)
		began := time.Now()
		m.Start()
		for m.Status().Resync.RegionsLeft > 1 {
			time.Sleep(each / 4)
		}
		s := m.Status().Resync
		for m.Status().Resync.RegionsLeft > 0 {
			time.Sleep(each / 4)
		}
		// Two pieces, each read in a second and followed by three of rest.
		if took := time.Since(began); took < 5*each || took > 9*each {
			t.Errorf("it took %v", took)
		}
		if s.RegionsTotal != 2 {
			t.Errorf("half way it was %+v", s)
		}
		must(t, m.Close())
	})
}
