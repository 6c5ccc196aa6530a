package holdfast

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/devicetest"
	"holdfast.dev/holdfast/device/faultdev"
	"holdfast.dev/holdfast/mirror"
)

// Each kind of bad input is refused with one clear line, or served where that
// loses nothing; and the legs are as they were.
func TestBadInput(t *testing.T) {
	type pool struct{ dir, a, b string }
	remove := func(t *testing.T, path string) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	copyFile := func(t *testing.T, from, to string) {
		b, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	const first = 4096 // where the first superblock lies
	last := func(t *testing.T, path string) int64 {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return st.Size() - 4096
	}
	for _, c := range []struct {
		what    string
		damage  func(t *testing.T, p pool)
		want    error // nil: it is served
		message string
	}{
		{"a leg is missing", func(t *testing.T, p pool) { remove(t, p.a) }, ErrLegMissing, "--force-without"},
		{"a leg was cut short", func(t *testing.T, p pool) {
			if err := os.Truncate(p.b, 4*mib); err != nil {
				t.Fatal(err)
			}
		}, ErrLegTooSmall, "b.img"},
		{"a leg of another pool", func(t *testing.T, p pool) { copyFile(t, filepath.Join(made(t), "b.img"), p.b) }, ErrLegForeign, "b.img"},
		{"a leg that is out of date", func(t *testing.T, p pool) {
			copyFile(t, p.b, p.b+".old")
			for range 2 {
				opened(t, p.dir, Options{}).Close()
			}
			copyFile(t, p.b+".old", p.b)
		}, ErrLegStale, "b.img"},
		{"one superblock broken", func(t *testing.T, p pool) { poke(t, p.b, first, "xxxx") }, nil, ""},
		{"the other superblock broken", func(t *testing.T, p pool) { poke(t, p.b, last(t, p.b), "xxxx") }, nil, ""},
		{"both superblocks broken", func(t *testing.T, p pool) {
			poke(t, p.b, first, "xxxx")
			poke(t, p.b, last(t, p.b), "xxxx")
		}, ErrLegCorrupt, "b.img"},
		{"a torn region log", func(t *testing.T, p pool) { poke(t, p.b, 8192, strings.Repeat("x", 512)) }, nil, ""},
		{"no settings", func(t *testing.T, p pool) { remove(t, filepath.Join(p.dir, "holdfast.toml")) }, ErrNoPool, "holdfast create"},
		{"an unknown key", func(t *testing.T, p pool) {
			appendTo(t, p.dir, "\n[cahce]\n")
		}, ErrSettings, "unknown key cahce; did you mean cache?"},
		{"settings of a volume that is not there", func(t *testing.T, p pool) {
			appendTo(t, p.dir, "\n[volumes.mian]\nstability = \"copy\"\n")
		}, ErrNotFound, "volumes.mian"},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := made(t)
			pl := opened(t, dir, Options{})
			write(t, lookup(t, pl, "main"), "precious", mib)
			if err := pl.Close(); err != nil {
				t.Fatal(err)
			}
			c.damage(t, pool{dir, filepath.Join(dir, "a.img"), filepath.Join(dir, "b.img")})
			before, _ := os.ReadFile(filepath.Join(dir, "a.img"))
			pl, err := Open(dir, Options{Log: slog.New(slog.DiscardHandler)})
			if err == nil {
				expect(t, lookup(t, pl, "main"), "precious", mib)
				err = pl.Close()
			} else if after, _ := os.ReadFile(filepath.Join(dir, "a.img")); string(after) != string(before) && c.want != ErrNotFound {
				// Which volumes there are is known only once the mirror is open.
				t.Error("a refused pool was changed")
			}
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if c.want != nil && (!strings.Contains(err.Error(), c.message) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("want one line with %q, got: %v", c.message, err)
			}
		})
	}
}

func appendTo(t *testing.T, dir, text string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "holdfast.toml"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// One copy of the volume table may rot; check tells, and serving repairs it.
func TestVolumeTableRots(t *testing.T) {
	dir := made(t)
	spoil := func(off int64) {
		p := opened(t, dir, Options{})
		if _, err := p.mirror.WriteAt([]byte("xxxx"), off); err != nil {
			t.Fatal(err)
		}
		p.Close()
	}
	spoil(0)
	r, err := Check(dir)
	if err != nil || r.Sound() || !strings.Contains(strings.Join(r.Problems, "\n"), "volume table") {
		t.Errorf("check with one broken copy: %+v, %v", r, err)
	}
	opened(t, dir, Options{}).Close()
	if r, err := Check(dir); err != nil || !r.Sound() {
		t.Errorf("check after it was served: %+v, %v", r, err)
	}
	spoil(0)
	p := opened(t, dir, Options{}) // repairs the first copy
	for _, off := range []int64{0, mib / 2} {
		if _, err := p.mirror.WriteAt([]byte("xxxx"), off); err != nil {
			t.Fatal(err)
		}
	}
	p.Close()
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrTableCorrupt) {
		t.Errorf("with both copies broken: %v", err)
	}
	if r, err := Check(dir); err != nil || r.Sound() {
		t.Errorf("check with both copies broken: %+v, %v", r, err)
	}
}

// A leg that failed is not needed: the pool opens though its file is gone.
func TestFailedLegMayBeGone(t *testing.T) {
	dir := made(t)
	p := opened(t, dir, Options{})
	write(t, lookup(t, p, "main"), "kept", 0)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	var legs []mirror.Leg
	for _, name := range []string{"a.img", "b.img"} {
		f, err := device.OpenFile(filepath.Join(dir, name), device.FileOptions{})
		if err != nil {
			t.Fatal(err)
		}
		fd := faultdev.New(f)
		if name == "b.img" {
			fd.Add(faultdev.Rule{On: faultdev.Change, Err: device.ErrIO, Forever: true})
		}
		legs = append(legs, mirror.Leg{Name: name, Dev: fd})
	}
	m, err := mirror.Open(legs, mirror.Options{Manual: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "b.img")); err != nil {
		t.Fatal(err)
	}
	if s, err := Inspect(dir); err != nil || !s.Degraded() || s.Message == "" {
		t.Errorf("Inspect: %+v, %v", s, err)
	}
	if r, err := Check(dir); err != nil || r.Sound() {
		t.Errorf("Check: %+v, %v", r, err)
	}
	p = opened(t, dir, Options{})
	if s := p.Status(); s.State != StateDegraded || !strings.Contains(s.Message, "has failed") {
		t.Errorf("status: %s, %q", s.State, s.Message)
	}
	expect(t, lookup(t, p, "main"), "kept", 0)
}

func TestOverlayConforms(t *testing.T) {
	devicetest.Run(t, func(t *testing.T, size int64) device.Device { return newOverlay(device.NewMem(size)) })
}

func TestOverlayLeavesTheDeviceAlone(t *testing.T) {
	under := device.NewMem(2*overlayBlock + 512)
	if _, err := under.WriteAt([]byte("below"), overlayBlock-2); err != nil {
		t.Fatal(err)
	}
	o := newOverlay(under)
	if _, err := o.WriteAt([]byte("X"), overlayBlock); err != nil {
		t.Fatal(err)
	}
	if err := o.Discard(2*overlayBlock, 512); err != nil {
		t.Fatal(err)
	}
	for d, want := range map[device.Device]string{o: "beXow", under: "below"} {
		got := make([]byte, 5)
		if _, err := d.ReadAt(got, overlayBlock-2); err != nil || string(got) != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
}
