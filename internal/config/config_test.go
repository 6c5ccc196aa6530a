package config

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const legs = "legs = [\"a.img\", \"b.img\"]\n"

func TestWhatIsLeftOutHasADefault(t *testing.T) {
	c, err := Parse("x.toml", []byte(legs))
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Legs = []string{"a.img", "b.img"}
	want.Cache.DirtyLimit, want.Cache.DirtyBackground = 192<<20, 128<<20
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v\nwant %+v", c, want)
	}
	if c.Stability("main") != StabilityWait {
		t.Errorf("a volume without a section has stability %q", c.Stability("main"))
	}
}

func TestEveryKeyIsRead(t *testing.T) {
	c, err := Parse("x.toml", []byte(legs+`
deadline = "7s"
[region_log]
policy = "idle"
period = "250ms"
[journal]
mode = "never"
[cache]
budget = "1GiB"
dirty_limit = "100MB"
dirty_background = 1048576
dirty_age = "2s"
[scrub]
share = 0.25
[resync]
share = 1
[nbd]
unix = "s.sock"
tcp = "127.0.0.1:0"
[attach]
unix = "a.sock"
allow = [1000, 7]
announced = true
[volumes.db]
stability = "copy"
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Legs:      []string{"a.img", "b.img"},
		Deadline:  Duration(7 * time.Second),
		RegionLog: RegionLog{"idle", Duration(250 * time.Millisecond)},
		Journal:   Journal{"never"},
		Cache:     Cache{1 << 30, 100e6, 1 << 20, Duration(2 * time.Second)},
		Scrub:     Scrub{0.25},
		Resync:    Resync{1},
		NBD:       NBD{"s.sock", "127.0.0.1:0"},
		Attach:    Attach{"a.sock", []uint32{1000, 7}, true},
		Volumes:   map[string]Volume{"db": {"copy"}},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v\nwant %+v", c, want)
	}
}

func TestFaultsNameFileLineAndKey(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"misspelt key", legs + "[cache]\nbudgte = \"1G\"\n", []string{"x.toml:3: unknown key cache.budgte; did you mean cache.budget?"}},
		{"key in the wrong table", legs + "policy = \"idle\"\n", []string{"x.toml:2: unknown key policy; did you mean region_log.policy?"}},
		{"misspelt table", legs + "[region-log]\n", []string{"x.toml:2: unknown key region-log; did you mean region_log?"}},
		{"key of a volume", legs + "[volumes.main]\nstabilty = \"wait\"\n", []string{"x.toml:3: unknown key volumes.main.stabilty; did you mean volumes.NAME.stability?"}},
		{"nothing like it", legs + "frobnicate = 1\n", []string{"x.toml:2: unknown key frobnicate; known keys are legs, deadline, region_log, region_log.policy"}},
		{"two at once", legs + "one = 1\ntwoo = 2\n", []string{"x.toml:2: unknown key one", "x.toml:3: unknown key twoo"}},
		{"bad size", legs + "[cache]\nbudget = \"lots\"\n", []string{"x.toml:3:", "cache.budget", `"lots" is not a size`}},
		{"bad duration", legs + "[cache]\ndirty_age = \"soon\"\n", []string{"x.toml:3:", `"soon" is not a duration`}},
		{"wrong type", "legs = 3\n", []string{"x.toml:1:", "legs"}},
		{"not TOML", legs + "[cache\n", []string{"x.toml:2:"}},
		{"every value wrong", "legs = [\"a\", \"a\", \"\"]\ndeadline = \"2h\"\n[region_log]\npolicy = \"x\"\nperiod = \"1ns\"\n[journal]\nmode = \"x\"\n[cache]\nbudget = 1\ndirty_limit = 2\ndirty_background = 3\ndirty_age = \"2h\"\n[scrub]\nshare = 0\n[resync]\nshare = nan\n[nbd]\ntcp = \"here\"\n[volumes.-x]\nstability = \"hold\"\n",
			[]string{"a is named twice", "leg 3 has an empty path", "deadline", "region_log.policy", "region_log.period", "journal.mode", "cache.budget", "cache.dirty_limit", "cache.dirty_background", "cache.dirty_age", "scrub.share", "resync.share", "nbd.tcp", "volumes.-x.stability", `"-x" as a volume's name`}},
		{"no legs", "", []string{"legs: a pool has 1 to 4 legs, not 0"}},
		{"five legs", `legs = ["a","b","c","d","e"]`, []string{"not 5"}},
		{"no port", legs + "[nbd]\ntcp = \"h:99999\"\n", []string{"nbd.tcp"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("x.toml", []byte(c.text))
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("got %v, want an error that wraps ErrInvalid", err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("message lacks %q:\n%v", w, err)
				}
			}
			for line := range strings.Lines(err.Error()) {
				if !strings.Contains(line, "x.toml") {
					t.Errorf("a line does not name the file: %s", line)
				}
			}
		})
	}
}

// What create writes is read back as it was, and defaults stay comments.
func TestWrittenFileIsReadBack(t *testing.T) {
	for _, change := range []func(*Config){
		func(c *Config) {},
		func(c *Config) { c.NBD.TCP = "127.0.0.1:10809" },
		func(c *Config) {
			c.Cache.Budget = 512 << 20
			c.RegionLog.Policy = PolicyNever
			c.Journal.Mode = JournalAlways
		},
		func(c *Config) { c.Scrub.Share, c.Resync.Share = 0.125, 1 },
		func(c *Config) { c.Deadline = Duration(90 * time.Second) },
		func(c *Config) { c.Volumes = map[string]Volume{"a": {StabilityCopy}, "b.c": {StabilityWait}} },
		func(c *Config) { c.Legs = []string{`od"d\`, "tab\t", "new\nline", "ünï"} },
	} {
		dir := t.TempDir()
		c := Default()
		c.Legs = []string{"leg0.img", "/dev/sdx"}
		change(&c)
		c.Derive()
		if err := Write(dir, c); err != nil {
			t.Fatal(err)
		}
		got, err := Load(dir)
		if err != nil {
			b, _ := os.ReadFile(filepath.Join(dir, Name))
			t.Fatalf("%v\n%s", err, b)
		}
		if !reflect.DeepEqual(got, c) {
			t.Errorf("got %+v\nwant %+v", got, c)
		}
		if err := Write(dir, c); !errors.Is(err, os.ErrExist) {
			t.Errorf("writing over a file: got %v, want ErrExist", err)
		}
	}
}

func TestUncommentedTemplateIsValid(t *testing.T) {
	c := Default()
	c.Legs = []string{"a"}
	var b strings.Builder
	for line := range strings.Lines(render(c)) {
		if l, ok := strings.CutPrefix(line, "# "); ok && (strings.Contains(l, " = ") || strings.HasPrefix(l, "[")) {
			line = l
		}
		b.WriteString(line)
	}
	if _, err := Parse("x.toml", []byte(b.String())); err != nil {
		t.Errorf("%v\n%s", err, b.String())
	}
}

func TestLargeFileIsRefused(t *testing.T) {
	if _, err := Parse("x.toml", make([]byte, sizeLimit+1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "4096": 4096, "1k": 1 << 10, "1KiB": 1 << 10, "1kB": 1000, "256MiB": 256 << 20,
		"4G": 4 << 30, "4 gib": 4 << 30, " 2T ": 2 << 40, "8191P": 8191 << 50, "9223372036854775807": math.MaxInt64,
	} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || int64(s) != want {
			t.Errorf("%q: got %d, %v, want %d", text, s, err, want)
		}
	}
	for _, text := range []string{
		"", "G", "-1", "-4G", "+1", "1.5G", "4Q", "4 G B", "0x10", "8192P", "9223372036854775808",
		"99999999999999999999", "1e3", "4G4", "１",
	} {
		s := Size(7)
		if err := s.UnmarshalText([]byte(text)); err == nil || s != 7 {
			t.Errorf("%q: got %d, %v, want an error and no change", text, s, err)
		}
	}
}

func TestSizeIsWrittenAsItIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Size(rapid.Int64Range(0, math.MaxInt64).Draw(t, "size"))
		if rapid.Bool().Draw(t, "round") {
			want &^= 1<<rapid.IntRange(0, 50).Draw(t, "bits") - 1
		}
		var got Size
		if err := got.UnmarshalText([]byte(want.String())); err != nil || got != want {
			t.Fatalf("%d was written as %v and read as %d, %v", want, want, got, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	c := Default()
	c.Legs = []string{"a", "b"}
	f.Add([]byte(render(c)))
	f.Add([]byte(legs + "[volumes.main]\nstability = \"copy\"\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Parse("x.toml", b)
		if err != nil {
			return
		}
		back, err := Parse("x.toml", []byte(render(got)))
		if err != nil {
			t.Fatalf("accepted settings were written as refused ones: %v\n%s", err, render(got))
		}
		if len(back.Volumes) == 0 {
			back.Volumes = got.Volumes
		}
		for name := range got.Volumes {
			if got.Stability(name) != back.Stability(name) {
				t.Errorf("volume %s: stability %q became %q", name, got.Stability(name), back.Stability(name))
			}
		}
		back.Volumes = got.Volumes
		if !reflect.DeepEqual(back, got) {
			t.Errorf("got %+v\nwant %+v", back, got)
		}
	})
}
