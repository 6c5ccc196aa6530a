package devicetest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"holdfast.dev/holdfast/device"
)

// model is a device and the bytes that it should hold.
type model struct {
	t    *testing.T
	d    device.Device
	want []byte
}

// newModel takes the device's content for granted, whatever it is.
func newModel(t *testing.T, d device.Device) *model {
	t.Helper()
	m := &model{t: t, d: d, want: make([]byte, d.Size())}
	m.must("read", 0, d.Size(), func() error { return full(d.ReadAt(m.want, 0))(len(m.want)) })
	return m
}

// full makes an error of a transfer that succeeded in part.
func full(n int, err error) func(want int) error {
	return func(want int) error {
		if err == nil && n != want {
			return errShort(n)
		}
		return err
	}
}

func (m *model) must(op string, off, n int64, call func() error) {
	m.t.Helper()
	if err := call(); err != nil {
		m.t.Fatalf("%s of %d bytes at %d: %v", op, n, off, err)
	}
}

func (m *model) write(p []byte, off int64) {
	m.t.Helper()
	m.must("write", off, int64(len(p)), func() error { return full(m.d.WriteAt(p, off))(len(p)) })
	copy(m.want[off:], p)
}

func (m *model) writeVec(bufs [][]byte, off int64) {
	m.t.Helper()
	all := bytes.Join(bufs, nil)
	m.must("vectored write", off, int64(len(all)), func() error {
		return full(device.WriteVec(m.d, bufs, off))(len(all))
	})
	copy(m.want[off:], all)
}

func (m *model) writeScattered(parts []device.Part) {
	m.t.Helper()
	n := 0
	for _, p := range parts {
		n += len(p.P)
		copy(m.want[p.Off:], p.P)
	}
	m.must("scattered write", 0, int64(n), func() error { return device.WriteScattered(m.d, parts) })
}

// readScattered compares what is where parts are; what they held before must not
// matter.
func (m *model) readScattered(parts []device.Part) {
	m.t.Helper()
	for i := range parts {
		clear(parts[i].P)
	}
	m.must("scattered read", 0, 0, func() error { return device.ReadScattered(m.d, parts) })
	for _, p := range parts {
		m.compare(p.P, p.Off)
	}
}

func (m *model) discard(off, n int64) {
	m.t.Helper()
	m.must("discard", off, n, func() error { return m.d.Discard(off, n) })
	clear(m.want[off : off+n])
}

func (m *model) zero(off, n int64) {
	m.t.Helper()
	m.must("zero", off, n, func() error { return m.d.WriteZeroes(off, n) })
	clear(m.want[off : off+n])
}

func (m *model) flush() {
	m.t.Helper()
	m.must("flush", 0, 0, m.d.Flush)
}

// read compares p's length at off. What p held before must not matter.
func (m *model) read(p []byte, off int64) {
	m.t.Helper()
	m.must("read", off, int64(len(p)), func() error { return full(m.d.ReadAt(p, off))(len(p)) })
	m.compare(p, off)
}

func (m *model) readVec(bufs [][]byte, off int64) {
	m.t.Helper()
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	m.must("vectored read", off, int64(n), func() error {
		return full(device.ReadVec(m.d, bufs, off))(n)
	})
	m.compare(bytes.Join(bufs, nil), off)
}

func (m *model) compare(got []byte, off int64) {
	m.t.Helper()
	want := m.want[off : off+int64(len(got))]
	if bytes.Equal(got, want) {
		return
	}
	for i := range got {
		if got[i] != want[i] {
			m.t.Fatalf("read of %d bytes at %d: byte %d is %#x, want %#x", len(got), off, off+int64(i), got[i], want[i])
		}
	}
}

// all compares the whole device.
func (m *model) all() {
	m.t.Helper()
	m.read(make([]byte, len(m.want)), 0)
}

// span returns a random range of the device: often aligned to a block, a sector
// or nothing, often short, at times at the very start or end.
func (m *model) span(r *rand.Rand) (off, n int64) {
	size := int64(len(m.want))
	unit := []int64{1, device.SectorSize, 4096}[r.IntN(3)]
	off = r.Int64N(size+1) / unit * unit
	n = r.Int64N([]int64{2 * unit, 16 << 10, 256 << 10}[r.IntN(3)]) / unit * unit
	switch r.IntN(16) {
	case 0:
		off = 0
	case 1:
		off = size - min(n, size)
	}
	return off, min(n, size-off)
}

// memory returns n bytes at a random alignment, with random content.
func memory(r *rand.Rand, n int64) []byte {
	skip := []int64{0, 1, 8, 512}[r.IntN(4)]
	p := device.Aligned(int(n + skip))[skip:]
	fill(r, p)
	return p
}

// fill gives p random content in which no byte is zero, so that bytes that were
// wrongly zeroed show.
func fill(r *rand.Rand, p []byte) {
	word := r.Uint64() | 0x0101010101010101
	var b [8]byte
	for len(p) > 0 {
		binary.LittleEndian.PutUint64(b[:], word)
		p = p[copy(p, b[:]):]
		word = word*6364136223846793005 + 1442695040888963407 | 0x0101010101010101
	}
}

// pieces cuts p at random places, with an empty piece now and then.
func pieces(r *rand.Rand, p []byte) [][]byte {
	var bufs [][]byte
	for len(p) > 0 {
		n := min(r.IntN([]int{64, 1024, 64 << 10}[r.IntN(3)]), len(p))
		bufs = append(bufs, p[:n:n])
		p = p[n:]
	}
	return bufs
}

// errShort is a transfer that returned no error but only so many bytes.
type errShort int

func (e errShort) Error() string { return fmt.Sprintf("no error, but only %d bytes", int(e)) }
