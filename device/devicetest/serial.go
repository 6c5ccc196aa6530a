package devicetest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"testing"

	"holdfast.dev/holdfast/device"
)

// calls are the calls that take a range, by name. The count is of a transfer.
func calls(d device.Device) map[string]func(off, n int64) (int, error) {
	return map[string]func(off, n int64) (int, error){
		"read":    func(off, n int64) (int, error) { return d.ReadAt(make([]byte, n), off) },
		"write":   func(off, n int64) (int, error) { return d.WriteAt(make([]byte, n), off) },
		"readvec": func(off, n int64) (int, error) { return device.ReadVec(d, [][]byte{make([]byte, n)}, off) },
		"writevec": func(off, n int64) (int, error) {
			return device.WriteVec(d, [][]byte{make([]byte, n/2), make([]byte, n-n/2)}, off)
		},
		"scatter": func(off, n int64) (int, error) {
			return 0, device.WriteScattered(d, []device.Part{{P: make([]byte, n), Off: off}})
		},
		"gather": func(off, n int64) (int, error) {
			return 0, device.ReadScattered(d, []device.Part{{P: make([]byte, n), Off: off}})
		},
		"discard": func(off, n int64) (int, error) { return 0, d.Discard(off, n) },
		"zero":    func(off, n int64) (int, error) { return 0, d.WriteZeroes(off, n) },
		"extents": func(off, n int64) (int, error) {
			return 0, device.Extents(d, off, n, func(device.Extent) bool { return true })
		},
	}
}

// bounds: a call that reaches outside fails whole, one that just fits succeeds.
func (s *suite) bounds(t *testing.T) {
	m := newModel(t, s.device(t))
	size := m.d.Size()
	p := device.Aligned(int(size))
	fill(s.rand(1), p)
	m.write(p, 0)
	long := map[string]bool{"discard": true, "zero": true, "extents": true} // take a length without memory
	for name, call := range calls(m.d) {
		for _, c := range []struct {
			off, n int64
			ok     bool
		}{
			{0, 0, true}, {size, 0, true}, {size / 2, 0, true},
			{-1, 0, false}, {size + 1, 0, false},
			{-1, 1, false}, {-512, 1024, false}, {math.MinInt64, 512, false},
			{size, 1, false}, {size, 512, false}, {size - 1, 2, false}, {size - 512, 1024, false},
			{0, size + 1, false}, {math.MaxInt64, 1, false}, {math.MaxInt64 - 511, 512, false},
			{math.MaxInt64 - 511, 1024, false},
			{0, -1, false}, {512, -512, false}, {0, math.MinInt64, false}, {0, math.MaxInt64, false},
			{512, math.MaxInt64 - 511, false}, {size - 512, math.MaxInt64 - 512, false},
		} {
			if !long[name] && (c.n < 0 || c.n > 2*size) {
				continue
			}
			n, err := call(c.off, c.n)
			if c.ok && err != nil {
				t.Errorf("%s of %d bytes at %d: %v", name, c.n, c.off, err)
			}
			if !c.ok && (!errors.Is(err, device.ErrOutOfRange) || n != 0) {
				t.Errorf("%s of %d bytes at %d, outside: %d bytes, error %v", name, c.n, c.off, n, err)
			}
		}
	}
	m.all() // nothing was done in part
	m.write(p[:1], size-1)
	m.read(p[:1], size-1)
	m.write(p[:512], size-512)
	m.read(p[:513], size-513)
}

// anyOffset: all lengths around the units that devices are made of.
func (s *suite) anyOffset(t *testing.T) {
	m := newModel(t, s.device(t))
	r := s.rand(2)
	var lengths []int64
	for _, n := range []int64{1, 512, 4096, 65536} {
		lengths = append(lengths, max(n-1, 1), n, n+1)
	}
	for _, n := range lengths {
		for _, off := range []int64{0, 1, 511, 512, 513, 4095, 4096, 65535, 65536, m.d.Size() - n} {
			p := memory(r, n)
			m.write(p, off)
			m.read(p, off)
			lo, hi := max(off-7, 0), min(off+n+7, m.d.Size())
			m.read(memory(r, hi-lo), lo)
		}
	}
	m.all()
}

// againstModel does thousands of random operations and compares what is read.
func (s *suite) againstModel(t *testing.T) {
	m := newModel(t, s.device(t))
	r := s.rand(3)
	for i := range 3000 {
		off, n := m.span(r)
		switch r.IntN(12) {
		case 0, 1, 2:
			m.write(memory(r, n), off)
		case 3:
			m.writeVec(pieces(r, memory(r, n)), off)
		case 4:
			m.discard(off, n)
		case 5:
			m.zero(off, n)
		case 6:
			m.readVec(pieces(r, memory(r, n)), off)
		case 7:
			m.checkExtents(off, n)
		case 8:
			if i%8 == 0 { // on a disk each takes its time
				m.flush()
			}
		default:
			m.read(memory(r, n), off)
		}
	}
	m.all()
}

// readsAsZeros: ranges with ends inside sectors, blocks and chunks; their
// neighbours stay.
func (s *suite) readsAsZeros(t *testing.T) {
	m := newModel(t, s.device(t))
	r := s.rand(4)
	for name, zero := range map[string]func(off, n int64){"discard": m.discard, "zero": m.zero} {
		m.write(memory(r, m.d.Size()), 0)
		for _, c := range [][2]int64{
			{0, 1}, {1, 1}, {511, 2}, {1000, 3000}, {4096, 4096}, {4095, 4098}, {65535, 65538},
			{8191, 1}, {200000, 300000}, {m.d.Size() - 5, 5}, {m.d.Size() - 4608, 4608},
		} {
			off, n := c[0], c[1]
			zero(off, n)
			p := memory(r, n)
			m.read(p, off)
			if !bytes.Equal(p, make([]byte, n)) {
				t.Fatalf("%s of %d bytes at %d left something", name, n, off)
			}
			zero(off, n) // zeros again are zeros
		}
		m.all()
		zero(0, m.d.Size())
		m.all()
		m.write([]byte("x"), 12345)
		m.all()
	}
}

// buffers: the device keeps none, changes none that it was given to write, and
// touches nothing around one that it fills.
func (s *suite) buffers(t *testing.T) {
	m := newModel(t, s.device(t))
	r := s.rand(5)
	for range 50 {
		off, n := m.span(r)
		p := memory(r, n)
		was := bytes.Clone(p)
		m.write(p, off)
		if !bytes.Equal(p, was) {
			t.Fatalf("write of %d bytes at %d changed its buffer", n, off)
		}
		fill(r, p)
		m.read(make([]byte, n), off)
		around := memory(r, n+64)
		was = bytes.Clone(around)
		m.read(around[32:32+n], off)
		if !bytes.Equal(around[:32], was[:32]) || !bytes.Equal(around[32+n:], was[32+n:]) {
			t.Fatalf("read of %d bytes at %d wrote outside its buffer", n, off)
		}
	}
}

// checkExtents: the extents cover the range, ascending and without gaps, and
// what is called a hole reads as zeros.
func (m *model) checkExtents(off, n int64) {
	m.t.Helper()
	at := off
	err := device.Extents(m.d, off, n, func(e device.Extent) bool {
		if e.Off != at || e.Len <= 0 || e.Off+e.Len > off+n {
			m.t.Errorf("extents of %d bytes at %d: %+v follows %d", n, off, e, at)
			return false
		}
		at += e.Len
		hole := m.want[e.Off : e.Off+e.Len]
		if e.Hole && !bytes.Equal(hole, make([]byte, len(hole))) {
			m.t.Errorf("extents of %d bytes at %d: %+v, where there is data", n, off, e)
		}
		return true
	})
	if err != nil || at != off+n {
		m.t.Fatalf("extents of %d bytes at %d end at %d: %v", n, off, at, err)
	}
}

func (s *suite) extents(t *testing.T) {
	m := newModel(t, s.device(t))
	m.discard(0, m.d.Size())
	m.write(memory(s.rand(6), 70000), 300000)
	m.write([]byte{1}, m.d.Size()-1)
	m.checkExtents(0, m.d.Size())
	m.checkExtents(300001, 5)
	m.checkExtents(m.d.Size(), 0)
	m.flush()
	m.checkExtents(0, m.d.Size())
	seen := 0
	err := device.Extents(m.d, 0, m.d.Size(), func(device.Extent) bool { seen++; return false })
	if err != nil || seen != 1 {
		t.Errorf("extents went on after yield returned false: %d extents, %v", seen, err)
	}
}

// vectored: more buffers than one system call takes, of every kind of alignment.
func (s *suite) vectored(t *testing.T) {
	m := newModel(t, s.device(t))
	r := s.rand(7)
	many := func(each, count int) [][]byte {
		bufs := make([][]byte, count)
		for i := range bufs {
			bufs[i] = memory(r, int64(each))
		}
		return bufs
	}
	for _, c := range []struct {
		each, count int
		off         int64
	}{{4096, 5, 8192}, {512, 1500, 4096}, {100, 2500, 4096}, {0, 3, 0}, {4096, 7, 77}, {513, 3, 512}, {1, 1, 0}} {
		t.Run(fmt.Sprintf("%dx%d", c.count, c.each), func(t *testing.T) {
			m.t = t
			m.writeVec(many(c.each, c.count), c.off)
			m.readVec(many(c.each, c.count), c.off)
			m.all()
		})
	}
	m.t = t
	m.writeVec(nil, 0)
	m.readVec(nil, m.d.Size())
}

// scattered: more parts than one turn takes, of every length and alignment, and in
// any order.
func (s *suite) scattered(t *testing.T) {
	m := newModel(t, s.device(t))
	r := s.rand(8)
	for _, unit := range []int64{1, device.SectorSize, device.DirectAlign} {
		for _, most := range []int64{2 * unit, 16 << 10, 400 << 10} {
			var parts []device.Part
			for off := r.Int64N(3) * unit; len(parts) < 150; {
				n := r.Int64N(most/unit+1) * unit
				if n > m.d.Size()-off {
					break
				}
				parts = append(parts, device.Part{P: memory(r, n), Off: off})
				off += n + max(r.Int64N(4)-1, 0)*unit
				if off > m.d.Size() {
					break
				}
			}
			r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
			m.writeScattered(parts)
			m.all()
			r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
			m.readScattered(parts)
		}
	}
	m.writeScattered(nil)
	m.readScattered(nil)
}

// closed: after Close every call fails, and says why.
func (s *suite) closed(t *testing.T) {
	d := s.device(t)
	if err := d.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	all := calls(d)
	if _, ok := d.(device.Extenter); !ok {
		delete(all, "extents") // answered without the device
	}
	for name, call := range all {
		if _, err := call(0, 512); !errors.Is(err, device.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	if err := d.Flush(); !errors.Is(err, device.ErrClosed) {
		t.Errorf("flush after Close: %v", err)
	}
	if err := d.Close(); !errors.Is(err, device.ErrClosed) {
		t.Errorf("close after Close: %v", err)
	}
}
