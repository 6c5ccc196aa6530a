package powercut

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"holdfast.dev/holdfast/device/devicetest"
)

// content describes sectors from..to of a disk by the first byte of each, and
// fails on a sector that is torn inside.
func content(t *testing.T, d *Disk, sectors int) string {
	t.Helper()
	var b strings.Builder
	p := make([]byte, sectorSize)
	for i := range int64(sectors) {
		if _, err := d.ReadAt(p, i*sectorSize); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p, bytes.Repeat(p[:1], sectorSize)) {
			t.Fatalf("sector %d is torn inside", i)
		}
		if p[0] == 0 {
			b.WriteByte('.')
		} else {
			b.WriteByte(p[0])
		}
	}
	return b.String()
}

// all returns every state of the first sectors of all disks, sorted.
func all(t *testing.T, s *Supply, sectors int) []string {
	t.Helper()
	seen := make(map[string]bool)
	ok := s.Enumerate(1000, func(disks []*Disk) bool {
		var states []string
		for _, d := range disks {
			states = append(states, content(t, d, sectors))
		}
		state := strings.Join(states, "|")
		if seen[state] {
			t.Errorf("state %q comes twice", state)
		}
		seen[state] = true
		return true
	})
	if !ok {
		t.Fatal("more than 1000 states")
	}
	return slices.Sorted(maps.Keys(seen))
}

// sampled returns the states that sampling finds, sorted.
func sampled(t *testing.T, s *Supply, sectors int, how Mode, seed uint64) []string {
	t.Helper()
	seen := make(map[string]bool)
	rng := devicetest.Rand(seed, 0)
	for range 3000 {
		var states []string
		for _, d := range s.Survivors(rng, how) {
			states = append(states, content(t, d, sectors))
		}
		seen[strings.Join(states, "|")] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// script runs steps such as "w0ab" (write sectors 0 and 1), "d0-2" (discard two
// sectors from 0 on) and "f" (flush). Upper-case W only issues a write, F a
// flush; c completes what was issued first.
func script(t *testing.T, d *Disk, steps string) {
	t.Helper()
	var issued []func() error
	for _, step := range strings.Fields(steps) {
		var err error
		switch step[0] {
		case 'f':
			err = d.Flush()
		case 'w':
			_, err = d.WriteAt(sectors(step[2:]), int64(step[1]-'0')*sectorSize)
		case 'd':
			err = d.Discard(int64(step[1]-'0')*sectorSize, int64(step[3]-'0')*sectorSize)
		case 'W':
			p := sectors(step[2:])
			v := &version{off: int64(step[1]-'0') * sectorSize, n: int64(len(p)), data: p}
			err = d.issue(v)
			issued = append(issued, func() error { return d.complete(v) })
		case 'F':
			var covered int
			covered, err = d.issueFlush()
			issued = append(issued, func() error { return d.completeFlush(covered) })
		case 'c':
			err = issued[0]()
			issued = issued[1:]
		}
		if err != nil && !errors.Is(err, ErrPowerLost) {
			t.Fatalf("%s: %v", step, err)
		}
	}
}

func sectors(s string) []byte {
	var p []byte
	for _, c := range []byte(s) {
		p = append(p, bytes.Repeat([]byte{c}, sectorSize)...)
	}
	return p
}

// TestStates: the whole model in small: what a cut at the end of each story may
// leave, no more and no less, by enumeration and by sampling.
func TestStates(t *testing.T) {
	seed := devicetest.Seed(t)
	for _, c := range []struct{ story, steps, want string }{
		{"what was not written is zeros", "", ".."},
		{"a write that is not flushed may be lost, and tears by sector", "w0ab", ".. .b a. ab"},
		{"a flush makes it durable", "w0ab f", "ab"},
		{"any version since the flush may survive", "w0a f w0b w0c", "a. b. c."},
		{"older than the flush may not", "w0a w0b f", "b."},
		{"versions of sectors are independent", "w0aa f w0bb w1c", "aa ab ac ba bb bc"},
		{"a discard is a version", "w0ab f d0-1", ".b ab"},
		{"so is one between writes", "w0a f d0-2 w0b", ".. a. b."},
		{"the same bytes again are no other state", "w0a f w0a", "a."},
		{"a write in flight beside a flush is not covered", "W0a f c", ".. a."},
		{"nor if it completes before the flush does", "F w0a c", ".. a."},
		{"what was complete is covered beside it", "w0a F w1b c", "a. ab"},
		{"a flush that was not complete covers nothing", "w0a F", ".. a."},
		{"a write that is not complete may be there", "w0a f W0b", "a. b."},
		{"a later version does not outlive an earlier flush of it", "w0a W0b F c c", "a. b."},
		{"overlapping flushes cover what the later one covers", "w0a F w1b f c", "ab"},
	} {
		t.Run(c.story, func(t *testing.T) {
			s := new(Supply)
			script(t, s.NewDisk("disk", 1<<20), c.steps)
			want := strings.Fields(c.want)
			if got := all(t, s, 2); !slices.Equal(got, want) {
				t.Errorf("enumerated %q, want %q", got, want)
			}
			for _, how := range []Mode{Mixed, Sectors} {
				if got := sampled(t, s, 2, how, seed); !slices.Equal(got, want) {
					t.Errorf("sampled in mode %d: %q, want %q", how, got, want)
				}
			}
		})
	}
}

func TestModes(t *testing.T) {
	seed := devicetest.Seed(t)
	s := new(Supply)
	script(t, s.NewDisk("disk", 4096), "w0aa f w0bb w1c W0d")
	if n := s.Disks()[0].Unsettled(); n != 3 {
		t.Errorf("%d versions are said not to be settled, of 3", n)
	}
	for how, want := range map[Mode]string{
		Nothing:    "aa",
		Everything: "dc",
		Writes:     "aa ac bb bc da db dc",
		Last:       "da",
	} {
		if got := sampled(t, s, 2, how, seed); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("mode %d: %q, want %q", how, got, want)
		}
	}
}

// The write that the cut falls into may have reached any of its sectors.
func TestTornByTheCut(t *testing.T) {
	s := new(Supply)
	d := s.NewDisk("disk", 4096)
	script(t, d, "w0xyz f")
	s.CutAfter(1)
	if _, err := d.WriteAt(sectors("abc"), 0); !errors.Is(err, ErrPowerLost) {
		t.Fatal(err)
	}
	want := strings.Fields("abc abz ayc ayz xbc xbz xyc xyz")
	if got := all(t, s, 3); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// A flush that the cut falls into, or that was issued before it, is no promise.
func TestFlushInTheCut(t *testing.T) {
	for _, issuedBefore := range []bool{false, true} {
		s := new(Supply)
		d := s.NewDisk("disk", 4096)
		script(t, d, "w0a")
		var err error
		if issuedBefore {
			covered, _ := d.issueFlush()
			s.Cut()
			err = d.completeFlush(covered)
		} else {
			s.CutAfter(1)
			err = d.Flush()
		}
		if got := all(t, s, 1); !errors.Is(err, ErrPowerLost) || !slices.Equal(got, []string{".", "a"}) {
			t.Errorf("%v, %q", err, got)
		}
	}
}

// A write in flight while the power goes fails, whoever met the cut first.
func TestWriteInFlightAtTheCut(t *testing.T) {
	s := new(Supply)
	d := s.NewDisk("disk", 4096)
	v := &version{n: sectorSize, data: sectors("a")}
	if err := d.issue(v); err != nil {
		t.Fatal(err)
	}
	s.Cut()
	if err := d.complete(v); !errors.Is(err, ErrPowerLost) {
		t.Errorf("the write returned %v", err)
	}
}

func TestLegsAreIndependent(t *testing.T) {
	s := new(Supply)
	for _, name := range []string{"a", "b"} {
		script(t, s.NewDisk(name, 4096), "w0x")
	}
	want := strings.Fields(".|. .|x x|. x|x")
	if got := all(t, s, 1); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := sampled(t, s, 1, Mixed, devicetest.Seed(t)); !slices.Equal(got, want) {
		t.Errorf("sampled %q", got)
	}
}

// A write of part of a sector is a version of the whole of it.
func TestPartOfASector(t *testing.T) {
	s := new(Supply)
	d := s.NewDisk("disk", 4096)
	script(t, d, "w0ab f")
	if _, err := d.WriteAt(bytes.Repeat([]byte{'c'}, 512), 256); err != nil {
		t.Fatal(err)
	}
	if err := d.WriteZeroes(0, 1024); err != nil {
		t.Fatal(err)
	}
	half := func(x, y byte) string {
		return string(bytes.Repeat([]byte{x}, 256)) + string(bytes.Repeat([]byte{y}, 256))
	}
	want := make(map[string]bool)
	for _, first := range []string{half('a', 'a'), half('a', 'c'), half(0, 0)} {
		for _, second := range []string{half('b', 'b'), half('c', 'b'), half(0, 0)} {
			want[first+second] = true
		}
	}
	got := make(map[string]bool)
	s.Enumerate(100, func(disks []*Disk) bool {
		p := make([]byte, 1024)
		if _, err := disks[0].ReadAt(p, 0); err != nil {
			t.Fatal(err)
		}
		got[string(p)] = true
		return true
	})
	if !maps.Equal(got, want) {
		t.Errorf("%d states, want %d, or others", len(got), len(want))
	}
}

// Zeros over part of a sector that only a lost write filled bring its other
// part with them.
func TestZeroedPartOfALostSector(t *testing.T) {
	s := new(Supply)
	d := s.NewDisk("disk", 4096)
	script(t, d, "w0a")
	if err := d.Discard(256, 512); err != nil {
		t.Fatal(err)
	}
	found := 0
	rng := devicetest.Rand(devicetest.Seed(t), 0)
	for range 500 {
		var p [512]byte
		if _, err := s.Survivors(rng, Sectors)[0].ReadAt(p[:], 0); err != nil {
			t.Fatal(err)
		}
		if p[0] == 'a' && p[511] == 0 {
			found++
		}
	}
	if found < 50 {
		t.Errorf("the zeroed version came up %d times in 500", found)
	}
}

func TestSameSeedSameState(t *testing.T) {
	s := new(Supply)
	for i := range 2 {
		d := s.NewDisk(fmt.Sprint(i), 1<<20)
		script(t, d, "w0abcdefgh d1-3 w2xyz W4q")
	}
	sample := func() (states []string) {
		rng := rand.New(rand.NewPCG(3, 4))
		for range 20 {
			for _, d := range s.Survivors(rng, Mixed) {
				states = append(states, content(t, d, 8))
			}
		}
		return states
	}
	if a, b := sample(), sample(); !slices.Equal(a, b) {
		t.Errorf("%q and %q", a, b)
	}
}

// Survivors share memory with the disk they come from and with each other; what
// one of them writes none of the others sees.
func TestSurvivorsAreSeparate(t *testing.T) {
	s := new(Supply)
	d := s.NewDisk("disk", 4096)
	script(t, d, "w0a f w1b")
	rng := rand.New(rand.NewPCG(1, 1))
	one, two := s.Survivors(rng, Everything)[0], s.Survivors(rng, Everything)[0]
	three := s.Survivors(rng, Nothing)[0]
	script(t, one, "w0c f")
	script(t, d, "w0d f")
	if got := all(t, two.Supply(), 2); !slices.Equal(got, []string{"ab"}) {
		t.Errorf("what survived is not durable: %q", got)
	}
	for i, c := range []struct {
		disk *Disk
		want string
	}{{one, "cb"}, {two, "ab"}, {three, "a."}, {d, "db"}} {
		if got := content(t, c.disk, 2); got != c.want {
			t.Errorf("disk %d: %q, want %q", i, got, c.want)
		}
	}
}

func TestEnumerateGivesUp(t *testing.T) {
	s := new(Supply)
	d := s.NewDisk("disk", 1<<20)
	script(t, d, "w0abcdefgh")
	count := 0
	each := func([]*Disk) bool { count++; return true }
	if s.Enumerate(255, each) || count != 0 {
		t.Errorf("256 states passed for 255, %d of them told", count)
	}
	if !s.Enumerate(256, each) || count != 256 {
		t.Errorf("%d of 256 states", count)
	}
	if !s.Enumerate(256, func([]*Disk) bool { count++; return false }) || count != 257 {
		t.Errorf("it went on after yield returned false")
	}
}
