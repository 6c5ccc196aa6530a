package deadline_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/deadline"
	"holdfast.dev/holdfast/device/devicetest"
	"holdfast.dev/holdfast/device/faultdev"
)

// gatherer is a device that notes the parts that it is given together.
type gatherer struct {
	device.Device
	calls   [][][2]int64
	crooked int // parts whose memory begins no page
}

func (g *gatherer) ReadScattered(parts []device.Part) error {
	g.note(parts)
	return device.ReadScattered(g.Device, parts)
}

func (g *gatherer) WriteScattered(parts []device.Part) error {
	g.note(parts)
	return device.WriteScattered(g.Device, parts)
}

func (g *gatherer) note(parts []device.Part) {
	var ranges [][2]int64
	for _, p := range parts {
		ranges = append(ranges, [2]int64{p.Off, int64(len(p.P))})
		if uintptr(unsafe.Pointer(&p.P[0]))%4096 != 0 {
			g.crooked++
		}
	}
	g.calls = append(g.calls, ranges)
}

func TestScatteredConforms(t *testing.T) {
	devicetest.Run(t, func(t *testing.T, size int64) device.Device {
		return deadline.New(&gatherer{Device: device.NewMem(size)}, deadline.Options{})
	})
}

// Scattered parts reach the device together, as many as fit the memory of a call
// when each begins a page; long ones are cut between pages.
func TestScatteredPieces(t *testing.T) {
	const piece, page = 256 << 10, 4096
	small := func(n int, off int64) (all [][2]int64) {
		for i := range n {
			all = append(all, [2]int64{off + int64(i)*2*page, 512})
		}
		return all
	}
	for _, c := range []struct {
		name  string
		parts [][2]int64
		want  [][][2]int64
	}{
		{"few", [][2]int64{{512, 512}, {page, 2 * page}, {0, 100}}, [][][2]int64{{{512, 512}, {page, 2 * page}, {0, 100}}}},
		{"empty", [][2]int64{{0, 0}, {page, page}, {5, 0}}, [][][2]int64{{{page, page}}}},
		{"many", small(65, 0), [][][2]int64{small(64, 0), small(1, 128*page)}},
		{"long", [][2]int64{{0, page}, {3 * page, piece + 5}, {0x1000000, 7}}, [][][2]int64{
			{{0, page}, {3 * page, piece - page}}, {{2*page + piece, page + 5}, {0x1000000, 7}}}},
		{"unaligned", [][2]int64{{512, 2 * piece}}, [][][2]int64{{{512, piece - 512}}, {{piece, piece}}, {{2 * piece, 512}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			under := &gatherer{Device: device.NewMem(1 << 30)}
			d := deadline.New(under, deadline.Options{})
			var parts []device.Part
			for i, r := range c.parts {
				parts = append(parts, device.Part{P: bytes.Repeat([]byte{byte(i + 1)}, int(r[1])), Off: r[0]})
			}
			must(t, d.WriteScattered(parts))
			again := slices.Clone(parts)
			for i := range again {
				again[i].P = make([]byte, len(parts[i].P))
			}
			must(t, d.ReadScattered(again))
			for i := range again {
				if !bytes.Equal(again[i].P, parts[i].P) {
					t.Errorf("at %d there is not what was written", parts[i].Off)
				}
			}
			if want := slices.Concat(c.want, c.want); !slices.EqualFunc(under.calls, want, slices.Equal) {
				t.Errorf("the device was given %v, want %v", under.calls, want)
			}
			if under.crooked > 0 {
				t.Errorf("%d parts do not begin a page of memory", under.crooked)
			}
			must(t, d.Close())
		})
	}
}

// A batch that hangs in any part has one deadline, keeps its memory to itself, and
// is the device's only call until it is answered.
func TestScatteredHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, under := watched(testSize)
		under.Add(faultdev.Rule{On: faultdev.Write, Nth: 2, Hang: true})
		var parts []device.Part
		for i := range 3 {
			parts = append(parts, device.Part{P: bytes.Repeat([]byte("n"), 4096), Off: int64(i+1) * 8192})
		}
		begin := time.Now()
		err := d.WriteScattered(parts)
		wantTimeout(t, "scattered write", err)
		var op *device.OpError
		if !errors.As(err, &op) || op.Name != "leg" || op.Off != 8192 || op.Len != 3*4096 {
			t.Errorf("the error is %v", err)
		}
		if took := time.Since(begin); took < limit || took > patience {
			t.Errorf("it took %v", took)
		}
		for _, p := range parts { // the memory is another's
			copy(p.P, bytes.Repeat([]byte("x"), len(p.P)))
		}
		wantTimeout(t, "scattered write after it", d.WriteScattered(parts))
		if n := under.Count(faultdev.Any); n != 2 {
			t.Errorf("%d calls reached the device", n)
		}
		other, _ := watched(testSize)
		for range 100 { // if the memory went back too early, these get it
			must(t, other.WriteScattered(parts))
		}
		must(t, other.Close())
		under.Heal()
		synctest.Wait()
		for _, p := range parts {
			got := make([]byte, 4096)
			_, err := d.ReadAt(got, p.Off)
			must(t, err)
			if !bytes.Equal(got, bytes.Repeat([]byte("n"), 4096)) {
				t.Errorf("at %d there is %q", p.Off, got[:8])
			}
		}
		must(t, d.Close())
	})
}

// A read that hangs in any part has one deadline, and never touches its caller's memory
// again.
func TestScatteredReadHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, under := watched(testSize)
		_, err := d.WriteAt(bytes.Repeat([]byte("o"), 8*4096), 0)
		must(t, err)
		under.Add(faultdev.Rule{On: faultdev.Read, Nth: 2, Hang: true})
		var parts []device.Part
		for i := range 3 {
			parts = append(parts, device.Part{P: bytes.Repeat([]byte("x"), 512), Off: int64(i) * 8192})
		}
		begin := time.Now()
		err = d.ReadScattered(parts)
		wantTimeout(t, "scattered read", err)
		var op *device.OpError
		if !errors.As(err, &op) || op.Name != "leg" || op.Off != 0 || op.Len != 3*512 {
			t.Errorf("the error is %v", err)
		}
		if took := time.Since(begin); took < limit || took > patience {
			t.Errorf("it took %v", took)
		}
		under.Heal()
		synctest.Wait()
		for _, p := range parts {
			if !bytes.Equal(p.P, bytes.Repeat([]byte("x"), 512)) {
				t.Errorf("what was to come from %d is %q", p.Off, p.P[:8])
			}
		}
		must(t, d.ReadScattered(parts))
		if parts[2].P[0] != 'o' {
			t.Errorf("when it has come back, %q is read", parts[2].P[:8])
		}
		must(t, d.Close())
	})
}

// What the device, or a guard, refuses is passed on.
func TestScatteredFails(t *testing.T) {
	d, under := watched(testSize)
	under.Add(faultdev.Rule{On: faultdev.Write, Nth: 2, Err: device.ErrIO})
	parts := []device.Part{{P: make([]byte, 512)}, {P: make([]byte, 512), Off: 1024}}
	if err := d.WriteScattered(parts); !errors.Is(err, device.ErrIO) {
		t.Errorf("a write that fails: %v", err)
	}
	under.Add(faultdev.Rule{On: faultdev.Read, Nth: 2, Err: device.ErrIO})
	if err := d.ReadScattered(parts); !errors.Is(err, device.ErrIO) {
		t.Errorf("a read that fails: %v", err)
	}
	if err := d.ReadScattered([]device.Part{parts[0], {P: make([]byte, 512), Off: testSize - 1}}); !errors.Is(err, device.ErrOutOfRange) {
		t.Errorf("a read beyond the end: %v", err)
	}
	before := under.Count(faultdev.Any)
	parts = append(parts, device.Part{P: make([]byte, 4096), Off: 4096, Sums: []uint32{1}})
	if err := d.WriteScattered(parts); !errors.Is(err, device.ErrGuard) || under.Count(faultdev.Any) != before {
		t.Errorf("a part that does not fit its sum: %v", err)
	}
	must(t, d.Close())
}
