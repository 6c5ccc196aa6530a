package devicetest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"holdfast.dev/holdfast/device"
)

// disjointWriters: each goroutine owns every k-th stripe of the device, of a
// length that shares sectors and blocks with its neighbours, and must read back
// what it wrote there last whatever the others do.
func (s *suite) disjointWriters(t *testing.T) {
	const writers = 4
	for _, stripe := range []int64{700, 512, 4096, 6000} {
		m := newModel(t, s.device(t))
		var g sync.WaitGroup
		for w := range int64(writers) {
			r := s.rand(uint64(100*stripe + w))
			g.Go(func() {
				for range 150 {
					k := r.Int64N(4) // near the others' stripes, mostly
					if r.IntN(4) == 0 {
						k = r.Int64N(m.d.Size() / stripe / writers)
					}
					off := (k*writers + w) * stripe
					if err := m.step(r, off, stripe); err != nil {
						t.Errorf("stripes of %d bytes, at %d: %v", stripe, off, err)
						return
					}
				}
			})
		}
		g.Wait()
		if t.Failed() {
			return
		}
		m.all()
		m.d.Close()
	}
}

// step changes the stripe at off in one way or another, and reads it back. The
// model's bytes there belong to the caller.
func (m *model) step(r *rand.Rand, off, n int64) error {
	mine := m.want[off : off+n]
	var err error
	switch r.IntN(8) {
	case 0:
		err = m.d.Discard(off, n)
		clear(mine)
	case 1:
		err = m.d.WriteZeroes(off, n)
		clear(mine)
	default:
		p := memory(r, n)
		copy(mine, p)
		_, err = m.d.WriteAt(p, off)
	}
	if err != nil {
		return err
	}
	p := memory(r, n)
	if _, err := m.d.ReadAt(p, off); err != nil {
		return err
	}
	if !bytes.Equal(p, mine) {
		return errors.New("reads back otherwise than it was written")
	}
	return nil
}

// wholeSectors: writers that overlap, each write with its own mark in every
// word; while they run, and after, no sector holds two marks.
func (s *suite) wholeSectors(t *testing.T) {
	const area = 16 << 10
	d := s.device(t)
	if err := d.WriteZeroes(0, area); err != nil {
		t.Fatal(err)
	}
	var g sync.WaitGroup
	for w := range uint64(3) {
		r := s.rand(200 + w)
		g.Go(func() {
			for i := range uint64(200) {
				off, n := overlapping(r, area)
				if _, err := d.WriteAt(marked(r, n, w<<32|i+1), off); err != nil {
					t.Errorf("write of %d bytes at %d: %v", n, off, err)
					return
				}
			}
		})
	}
	for w := range uint64(2) {
		r := s.rand(300 + w)
		g.Go(func() {
			for range 200 {
				off, n := overlapping(r, area)
				wantWhole(t, d, memory(r, n), off)
			}
		})
	}
	g.Wait()
	wantWhole(t, d, device.Aligned(area), 0)
}

// overlapping returns a range of whole sectors in the area.
func overlapping(r *rand.Rand, area int64) (off, n int64) {
	off = r.Int64N(area/device.SectorSize) * device.SectorSize
	n = (1 + r.Int64N(16)) * device.SectorSize
	return off, min(n, area-off)
}

// marked returns n bytes that repeat the mark.
func marked(r *rand.Rand, n int64, mark uint64) []byte {
	p := memory(r, n)
	for i := 0; i < len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], mark)
	}
	return p
}

// wantWhole reads into p and looks at each sector.
func wantWhole(t *testing.T, d device.Device, p []byte, off int64) {
	if _, err := d.ReadAt(p, off); err != nil {
		t.Errorf("read of %d bytes at %d: %v", len(p), off, err)
		return
	}
	for i := 0; i < len(p); i += device.SectorSize {
		sector := p[i : i+device.SectorSize]
		if !bytes.Equal(sector, bytes.Repeat(sector[:8], device.SectorSize/8)) {
			t.Errorf("the sector at %d is torn", off+int64(i))
			return
		}
	}
}

// flushBesideWrites: flushes, extents and writes do not get in each other's way.
func (s *suite) flushBesideWrites(t *testing.T) {
	m := newModel(t, s.device(t))
	half := m.d.Size() / 2 / device.DirectAlign * device.DirectAlign
	var g sync.WaitGroup
	for w := range int64(2) {
		r := s.rand(400 + uint64(w))
		g.Go(func() {
			for range 100 {
				if err := m.step(r, w*half+r.Int64N(8)*device.DirectAlign, device.DirectAlign); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	g.Go(func() {
		for range 20 {
			if err := m.d.Flush(); err != nil {
				t.Errorf("flush: %v", err)
			}
			err := device.Extents(m.d, 0, m.d.Size(), func(device.Extent) bool { return true })
			if err != nil {
				t.Errorf("extents: %v", err)
			}
		}
	})
	g.Wait()
	m.all()
}
