package holdfast

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/mirror"
	"holdfast.dev/holdfast/volume"
)

// listed returns the names in dir, joined.
func listed(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// A refused Create leaves what was there, and nothing else.
func TestCreateRefusesAndCleansUp(t *testing.T) {
	need := mirror.LegSize(volume.PoolSize(8 * mib))
	for _, c := range []struct {
		what    string
		prepare func(t *testing.T, top string)
		change  func(o *CreateOptions)
		want    error
		message string
	}{
		{"a leg that holds data", func(t *testing.T, top string) {
			f := filepath.Join(top, "b.img")
			if err := device.CreateFile(f, need); err != nil {
				t.Fatal(err)
			}
			poke(t, f, need-5, "x")
		}, nil, ErrLegInUse, "b.img holds data (at byte "},
		{"a leg that is too small", func(t *testing.T, top string) {
			if err := device.CreateFile(filepath.Join(top, "b.img"), need-4096); err != nil {
				t.Fatal(err)
			}
		}, nil, ErrLegTooSmall, "b.img has "},
		{"a leg that is a directory", func(t *testing.T, top string) {
			if err := os.Mkdir(filepath.Join(top, "b.img"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, nil, ErrIO, "b.img"},
		{"a leg in a directory that is absent", nil, func(o *CreateOptions) { o.Legs[1] = "absent/b.img" }, ErrIO, "absent/b.img"},
		{"one leg twice", nil, func(o *CreateOptions) { o.Legs[1] = o.Legs[0] }, ErrSettings, "named twice"},
		{"one leg by two names", nil, func(o *CreateOptions) { o.Legs[1] = "./a.img" }, ErrBusy, "a.img"},
		{"no leg", nil, func(o *CreateOptions) { o.Legs = nil }, ErrSettings, "1 to 4 legs, not 0"},
		{"an odd size", nil, func(o *CreateOptions) { o.Size = 4097 }, ErrSettings, "multiple of 4096"},
		{"a bad name", nil, func(o *CreateOptions) { o.Volume = "a/b" }, ErrInvalid, `"a/b"`},
		{"a bad policy", nil, func(o *CreateOptions) { o.Stability = "maybe" }, ErrSettings, "maybe"},
		{"leg files too small for the volume", nil, func(o *CreateOptions) { o.LegSize = 4 * mib }, ErrNoSpace, "volume"},
		{"a directory below one that is absent", nil, func(o *CreateOptions) {}, os.ErrNotExist, "absent"},
	} {
		t.Run(c.what, func(t *testing.T) {
			top := t.TempDir()
			t.Chdir(top)
			o := CreateOptions{Legs: []string{"a.img", "b.img"}, Size: 8 * mib}
			if c.prepare != nil {
				c.prepare(t, top)
			}
			if c.change != nil {
				c.change(&o)
			}
			dir := "pool"
			if c.want == os.ErrNotExist {
				dir = "absent/pool"
			}
			before := listed(t, top)
			err := Create(dir, o)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.message) {
				t.Errorf("got %v, want %v with %q", err, c.want, c.message)
			}
			if after := listed(t, top); after != before {
				t.Errorf("it leaves behind %q, there was %q", after, before)
			}
		})
	}
}

func poke(t *testing.T, path string, off int64, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(text), off); err != nil {
		t.Fatal(err)
	}
}

func TestCreateLeavesAPoolAlone(t *testing.T) {
	dir := made(t)
	before := listed(t, dir)
	err := Create(dir, CreateOptions{Legs: []string{filepath.Join(dir, "c.img")}, Size: mib})
	if !errors.Is(err, ErrPoolExists) {
		t.Errorf("over a pool: %v", err)
	}
	other := filepath.Join(t.TempDir(), "other")
	err = Create(other, CreateOptions{Legs: []string{filepath.Join(dir, "a.img")}, Size: mib})
	if !errors.Is(err, ErrLegInUse) {
		t.Errorf("with a pool's leg: %v", err)
	}
	if listed(t, dir) != before {
		t.Errorf("the pool became %q", listed(t, dir))
	}
	opened(t, dir, Options{})
}

// Legs inside the pool's directory move with it, and zeroed files can be legs.
func TestLegsMoveWithThePool(t *testing.T) {
	top := t.TempDir()
	t.Chdir(top)
	if err := os.Mkdir("pool", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("pool/a.img", make([]byte, 16*mib), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Create("pool", CreateOptions{Legs: []string{"pool/a.img", "outside.img"}, LegSize: 16 * mib}); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename("pool", "moved"); err != nil {
		t.Fatal(err)
	}
	t.Chdir("/")
	p := opened(t, filepath.Join(top, "moved"), Options{})
	if size := lookup(t, p, "main").Size(); size < 12*mib || size%mib != 0 {
		t.Errorf("the volume has %d of 16 MiB", size)
	}
}
