package holdfast

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/mirror"
)

const mib = 1 << 20

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// made makes a pool with two file legs in a directory of its own.
func made(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "pool")
	err := Create(dir, CreateOptions{
		Legs: []string{filepath.Join(dir, "a.img"), filepath.Join(dir, "b.img")},
		Size: 8 * mib,
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// opened opens a pool that is closed at the end of the test, if it is open then.
func opened(t *testing.T, dir string, o Options) *Pool {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	p, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	return p
}

func lookup(t *testing.T, p *Pool, name string) *Volume {
	t.Helper()
	v, err := p.Volume(name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func write(t *testing.T, v *Volume, text string, off int64) {
	t.Helper()
	if _, err := v.WriteAt([]byte(text), off); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, v *Volume, want string, off int64) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := v.ReadAt(got, off); err != nil || string(got) != want {
		t.Errorf("at %d: got %q, %v, want %q", off, got, err, want)
	}
}

func TestClosedPoolHoldsWhatWasWritten(t *testing.T) {
	dir := made(t)
	p := opened(t, dir, Options{})
	v := lookup(t, p, "main")
	write(t, v, "kept", 5*mib-2)
	write(t, v, "gone", 0)
	if err := v.Discard(0, 4096); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := v.ReadAt(make([]byte, 1), 0); !errors.Is(err, ErrClosed) {
		t.Errorf("reading from a closed pool: %v", err)
	}
	if err := p.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("closing a closed pool: %v", err)
	}
	s, err := Inspect(dir)
	if err != nil || s.State != StateStopped || s.Regions.Clean != s.Regions.Total {
		t.Errorf("after Close: %+v, %v, want a stopped pool with clean regions only", s, err)
	}
	v = lookup(t, opened(t, dir, Options{}), "main")
	expect(t, v, "kept", 5*mib-2)
	expect(t, v, "\x00\x00\x00\x00", 0)
}

func TestSeveralVolumes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pool")
	leg := filepath.Join(dir, "a.img")
	if err := Create(dir, CreateOptions{Legs: []string{leg}, LegSize: 32 * mib, Size: 4 * mib, Volume: "one", Stability: "copy"}); err != nil {
		t.Fatal(err)
	}
	p := opened(t, dir, Options{})
	if err := p.CreateVolume("two", 2*mib); err != nil {
		t.Fatal(err)
	}
	one, two := lookup(t, p, "one"), lookup(t, p, "two")
	write(t, one, "first", 4*mib-5)
	write(t, two, "second", 0)
	expect(t, one, "first", 4*mib-5)
	expect(t, two, "second", 0)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	p = opened(t, dir, Options{})
	if got := strings.Join(p.Volumes(), " "); got != "one two" {
		t.Errorf("volumes: %s", got)
	}
	expect(t, lookup(t, p, "two"), "second", 0)
	s := p.Status()
	if len(s.Volumes) != 2 || s.Volumes[0].Stability != "copy" || s.Volumes[1].Stability != "wait" || s.Volumes[1].Size != 2*mib {
		t.Errorf("status lists %+v", s.Volumes)
	}
}

func TestSecondOpenIsTold(t *testing.T) {
	dir := made(t)
	opened(t, dir, Options{})
	for what, try := range map[string]func() error{
		"Open":    func() error { _, err := Open(dir, Options{}); return err },
		"Inspect": func() error { _, err := Inspect(dir); return err },
		"Check":   func() error { _, err := Check(dir); return err },
		"Create":  func() error { return Create(dir, CreateOptions{Legs: []string{dir + "/x"}, Size: mib}) },
	} {
		err := try()
		if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "process "+strconv.Itoa(os.Getpid())+" has it open") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A leg in use by a pool in another directory is refused by its own lock.
func TestLegOfAnOpenPoolIsRefused(t *testing.T) {
	dir := made(t)
	opened(t, dir, Options{})
	other := t.TempDir()
	text := "legs = [\"" + filepath.Join(dir, "a.img") + "\", \"" + filepath.Join(dir, "b.img") + "\"]\n"
	if err := os.WriteFile(filepath.Join(other, "holdfast.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(other, Options{}); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "a.img") {
		t.Errorf("got %v", err)
	}
}

// What the region log is told must be what the cache knows.
func TestOwnerAnswersForTheCache(t *testing.T) {
	p := opened(t, made(t), Options{DirtyAge: 3600e9, RegionPolicy: "never"})
	v := lookup(t, p, "main")
	o := owner{&p.floors}
	const pool = mib // where the volume begins
	if !o.Quiet(0, p.mirror.Size()) {
		t.Error("a pool that nobody wrote to is not quiet")
	}
	write(t, v, "x", 3*mib)
	for _, c := range []struct {
		off, n int64
		quiet  bool
	}{
		{0, mib, true},                   // the volume table
		{pool, 3 * mib, true},            // pages before
		{pool + 3*mib, 4096, false},      // the page
		{pool + 3*mib + 4096, mib, true}, // pages behind
		{0, p.mirror.Size(), false},
	} {
		if got := o.Quiet(c.off, c.n); got != c.quiet {
			t.Errorf("Quiet(%d, %d) is %v with one dirty page at %d", c.off, c.n, got, pool+3*mib)
		}
	}
	if err := o.SyncRange(pool, 3*mib); err != nil || o.Quiet(pool+3*mib, 4096) {
		t.Errorf("the page was written out with another range (%v)", err)
	}
	if err := o.SyncRange(0, p.mirror.Size()); err != nil || !o.Quiet(0, p.mirror.Size()) {
		t.Errorf("after SyncRange of all (%v) the pool is not quiet", err)
	}
	got := make([]byte, 1)
	if _, err := p.mirror.ReadAt(got, pool+3*mib); err != nil || got[0] != 'x' {
		t.Errorf("the mirror holds %q, %v", got, err)
	}
}

// The region log may take a region's mark back only after what is dirty there
// was written out: so it must ask this pool's cache.
func TestRegionLogAsksTheCache(t *testing.T) {
	p := opened(t, made(t), Options{DirtyAge: 3600e9, Journal: "never"})
	v := lookup(t, p, "main")
	write(t, v, "marks the region", 0)
	if err := v.Sync(); err != nil {
		t.Fatal(err)
	}
	write(t, v, "is dirty in it", 4096)
	if err := p.mirror.Cycle(); err != nil {
		t.Fatal(err)
	}
	if s := p.Status(); s.Cache.Dirty != 0 {
		t.Errorf("%d bytes are dirty after the region log's cycle", s.Cache.Dirty)
	}
}

func TestStatusSaysWhatIsWrong(t *testing.T) {
	sound := LegStatus{Name: "a.img", State: "in sync"}
	charged := func(e mirror.LegErrors) LegStatus { return LegStatus{Name: "a.img", State: "in sync", LegErrors: e} }
	for _, c := range []struct {
		what    string
		s       Status
		want    State
		message string
		ill     bool
	}{
		{"nothing", Status{Legs: []LegStatus{sound}}, StateSound, "", false},
		{"nothing, though it scrubbed", Status{Legs: []LegStatus{sound}, Scrub: ScrubStatus{State: ScrubDone, Bad: 3, Healed: 3}}, StateSound, "", false},
		{"lost blocks", Status{Legs: []LegStatus{sound}, Scrub: ScrubStatus{State: ScrubDone, Lost: 3}}, StateSound, "found 3 blocks that no leg has", true},
		{"lost in the journal", Status{Legs: []LegStatus{sound}, Journal: mirror.JournalStatus{Lost: 2}}, StateSound, "2 blocks or more were in the journal", true},
		{"a joining leg", Status{Legs: []LegStatus{sound, {Name: "b.img", State: "joining", RegionsLeft: 2}}, RegionSize: 10}, StateDegraded, "leg b.img is joining: 2 regions (20 bytes)", true},
		{"checksum errors", Status{Legs: []LegStatus{charged(mirror.LegErrors{ChecksumErrors: 2})}}, StateSound, "held 2 blocks otherwise", false},
		{"errors and timeouts", Status{Legs: []LegStatus{charged(mirror.LegErrors{ReadErrors: 2, WriteErrors: 3, Timeouts: 1})}}, StateSound, "failed to read or write 4 times, did not answer in time, 1 times", false},
		{"undecided blocks", Status{Legs: []LegStatus{sound}, Guards: mirror.GuardStatus{Undecided: 2}}, StateSound, "2 blocks were being written", false},
		{"regions left", Status{Legs: []LegStatus{sound}, RegionSize: 10, Resync: mirror.ResyncStatus{RegionsLeft: 3}}, StateResyncing, "3 regions (30 bytes)", false},
		{"a failed leg", Status{Legs: []LegStatus{sound, {Name: "b.img", State: "failed"}}, Resync: mirror.ResyncStatus{RegionsLeft: 3}}, StateDegraded, "leg b.img has failed", true},
		{"failed write-outs", Status{Legs: []LegStatus{sound}, Cache: &cache.Stats{Failed: 4096}}, StateFailing, "4096 bytes could not be written", true},
	} {
		if c.s.Cache == nil {
			c.s.Cache = new(cache.Stats)
		}
		c.s.judge()
		if c.s.State != c.want || !strings.Contains(c.s.Message, c.message) || (c.message == "") != (c.s.Message == "") || (c.s.Message == "") != (c.s.Action == "") {
			t.Errorf("%s: %s, %q", c.what, c.s.State, c.s.Message)
		}
		if c.s.Healthy() == c.ill {
			t.Errorf("%s: healthy: %v", c.what, c.s.Healthy())
		}
	}
}

func TestStatusOfAnOpenPool(t *testing.T) {
	dir := made(t)
	p := opened(t, dir, Options{})
	s := p.Status()
	if s.Version != StatusVersion || s.State != StateSound || s.PID != os.Getpid() || s.Degraded() || s.Dir != dir ||
		len(s.Legs) != 2 || s.Legs[1].Name != filepath.Join(dir, "b.img") || s.Cache == nil || s.Cache.Budget != 256*mib {
		t.Errorf("%+v", s)
	}
}

func TestListenUnix(t *testing.T) {
	dir := made(t)
	p := opened(t, dir, Options{})
	path := filepath.Join(dir, "s")
	// A killed server leaves its socket behind.
	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	stale.Close()
	l, err := p.ListenUnix(path)
	if err != nil {
		t.Fatalf("over a stale socket: %v", err)
	}
	defer l.Close()
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != socketMode {
		t.Errorf("the socket's mode is %v, %v", st.Mode(), err)
	}
	if _, err := p.ListenUnix(filepath.Join(dir, "holdfast.toml")); !errors.Is(err, ErrSettings) {
		t.Errorf("over a file: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "holdfast.toml")); err != nil {
		t.Errorf("the file is gone: %v", err)
	}
	if _, err := p.ListenUnix(dir + "/" + strings.Repeat("x", 100)); !errors.Is(err, ErrSettings) {
		t.Errorf("with a path too long: %v", err)
	}
}

func TestOptionsAreCheckedAtOnce(t *testing.T) {
	o := Options{Budget: 1, DirtyLimit: 2, DirtyAge: -1, RegionPolicy: "sometimes", RegionPeriod: 1, Deadline: 1}
	err := o.Validate()
	if !errors.Is(err, ErrSettings) {
		t.Fatalf("got %v", err)
	}
	for _, key := range []string{"cache.budget", "cache.dirty_limit", "cache.dirty_age", "region_log.policy", "region_log.period", "deadline"} {
		if !strings.Contains(err.Error(), key) {
			t.Errorf("%s is not named in: %v", key, err)
		}
	}
	if _, err := Open(made(t), o); !errors.Is(err, ErrSettings) {
		t.Errorf("Open: %v", err)
	}
	if err := new(Options).Validate(); err != nil {
		t.Errorf("no options at all: %v", err)
	}
	o = Options{Budget: 16 * mib}
	if s := opened(t, made(t), o).Status(); s.Cache.Budget != 16*mib || s.Cache.DirtyLimit != 12*mib {
		t.Errorf("the cache has %+v", s.Cache)
	}
}

func TestVolumeEdges(t *testing.T) {
	v := lookup(t, opened(t, made(t), Options{}), "main")
	if _, err := v.ReadAt(make([]byte, 2), v.Size()-1); !errors.Is(err, ErrOutOfRange) {
		t.Errorf("reading beyond the end: %v", err)
	}
	if _, err := v.WriteAt(make([]byte, 2), v.Size()-1); !errors.Is(err, ErrOutOfRange) {
		t.Errorf("writing beyond the end: %v", err)
	}
	write(t, v, "abcd", 10)
	if err := v.WriteZeroes(11, 2); err != nil {
		t.Fatal(err)
	}
	expect(t, v, "a\x00\x00d", 10)
	var data, holes int64
	err := v.Extents(0, v.Size(), func(e Extent) bool {
		if e.Hole {
			holes += e.Len
		} else {
			data += e.Len
		}
		return true
	})
	if err != nil || data == 0 || data+holes != v.Size() {
		t.Errorf("extents: %d data, %d holes, %v", data, holes, err)
	}
	if err := v.SyncRange(0, 4096); err != nil {
		t.Error(err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if err := v.Sync(); !errors.Is(err, ErrClosed) {
		t.Errorf("sync after Close: %v", err)
	}
}

// Each handle is its own: closing one leaves the others.
func TestHandlesAreIndependent(t *testing.T) {
	p := opened(t, made(t), Options{})
	a, b := lookup(t, p, "main"), lookup(t, p, "main")
	write(t, a, "seen by both", 0)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 12)
	if _, err := b.ReadAt(got, 0); err != nil || !bytes.Equal(got, []byte("seen by both")) {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := p.Volume("absent"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a volume that is not there: %v", err)
	}
}
