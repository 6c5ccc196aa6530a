package nbd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"holdfast.dev/holdfast/device"
)

// allData is an Extents that knows nothing of holes.
func allData(off, n int64, yield func(device.Extent) bool) error {
	yield(device.Extent{Off: off, Len: n})
	return nil
}

// listed is an Extents that yields what it is given, whatever was asked.
func listed(list ...device.Extent) func(int64, int64, func(device.Extent) bool) error {
	return func(_, _ int64, yield func(device.Extent) bool) error {
		for _, e := range list {
			if !yield(e) {
				break
			}
		}
		return nil
	}
}

// chunks reads one reply and describes its chunks.
func (c *client) chunks() (list []string) {
	c.t.Helper()
	for {
		k := c.chunk(0)
		switch k.typ {
		case chunkData:
			list = append(list, fmt.Sprintf("data %d+%d", k.off, len(k.data)))
		case chunkHole:
			list = append(list, fmt.Sprintf("hole %d+%d", k.off, k.n))
		case chunkErrorOffset:
			list = append(list, fmt.Sprintf("error %d at %d", k.err, k.off))
		default:
			list = append(list, fmt.Sprintf("type %d error %d", k.typ, k.err))
		}
		if k.done {
			return list
		}
	}
}

// A structured read of what is not in memory tells holes from data, unless the
// client wants no fragments; the end of the range and of the list hold.
func TestStructuredReadChunks(t *testing.T) {
	const page = maxShort + 4096 // or nobody asks
	hole := func(off, n int64) device.Extent { return device.Extent{Off: off, Len: n, Hole: true} }
	data := func(off, n int64) device.Extent { return device.Extent{Off: off, Len: n} }
	var comb []device.Extent
	for i := range int64(200) {
		comb = append(comb, device.Extent{Off: i * page, Len: page, Hole: i%2 == 0})
	}
	combed := make([]string, 0, maxReadChunks)
	for i := range maxReadChunks - 1 {
		combed = append(combed, fmt.Sprintf("%s %d+%d", []string{"hole", "data"}[i%2], i*page, page))
	}
	combed = append(combed, fmt.Sprintf("data %d+%d", (maxReadChunks-1)*page, (200-maxReadChunks+1)*page))

	for _, c := range []struct {
		name    string
		flags   uint16
		off     uint64
		length  uint32
		extents []device.Extent
		want    []string
	}{
		{"data", 0, 0, page, []device.Extent{data(0, page)}, []string{"data 0+20480"}},
		{"hole", 0, 0, page, []device.Extent{hole(0, page)}, []string{"hole 0+20480"}},
		{"short", 0, 0, maxShort, []device.Extent{hole(0, maxShort)}, []string{"data 0+16384"}},
		{"hole, do not fragment", cmdFlagDF, 0, page, []device.Extent{hole(0, page)}, []string{"data 0+20480"}},
		{"both", 0, 0, 3 * page, []device.Extent{data(0, page), hole(page, page), data(2*page, page)},
			[]string{"data 0+20480", "hole 20480+20480", "data 40960+20480"}},
		{"both, do not fragment", cmdFlagDF, 0, 3 * page, []device.Extent{data(0, page), hole(page, page), data(2*page, page)},
			[]string{"data 0+61440"}},
		{"extents reach beyond the range", 0, page, page, []device.Extent{hole(0, 1<<40)}, []string{"hole 20480+20480"}},
		{"unaligned", 0, 100, 2*page - 100, []device.Extent{data(0, page), hole(page, page)}, []string{"data 100+20380", "hole 20480+20480"}},
		{"small holes are not worth it", 0, 0, 3 * page, []device.Extent{data(0, page), hole(page, 512), data(page+512, page), hole(3*page-3584, 3584)},
			[]string{"data 0+61440"}},
		{"neighbours alike are one", 0, 0, 3 * page, []device.Extent{hole(0, page), hole(page, page), data(2*page, 512), data(2*page+512, page-512)},
			[]string{"hole 0+40960", "data 40960+20480"}},
		{"what is left out is data", 0, 0, 3 * page, []device.Extent{hole(page, page)},
			[]string{"data 0+20480", "hole 20480+20480", "data 40960+20480"}},
		{"nothing known", 0, 0, page, nil, []string{"data 0+20480"}},
		{"extents from elsewhere", 0, 0, page, []device.Extent{data(1<<40, page)}, []string{"data 0+20480"}},
		{"too many", 0, 0, 200 * page, comb, combed},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDisk(8 << 20)
			d.cached = func(int64, int64) bool { return false }
			d.extents = listed(c.extents...)
			cl := start(t, serving(d), Options{}).connect(true)
			cl.send(requestBytes(c.flags, cmdRead, 9, c.off, c.length))
			if got := cl.chunks(); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// A read that fails says where, after the data that precedes the place.
func TestReadErrorHasItsOffset(t *testing.T) {
	for _, c := range []struct {
		name    string
		n       int
		flags   uint16
		extents []device.Extent
		want    []string
	}{
		{"at once", 0, 0, nil, []string{"error 5 at 20480"}},
		{"after some", 1000, 0, nil, []string{"data 20480+1000", "error 5 at 21480"}},
		{"after some, do not fragment", 1000, cmdFlagDF, nil, []string{"data 20480+1000", "error 5 at 21480"}},
		{"claims to have all", 40960, 0, nil, []string{"data 20480+40959", "error 5 at 61439"}},
		{"in the second part", 512, 0, []device.Extent{{Off: 20480, Len: 20480, Hole: true}, {Off: 40960, Len: 20480}},
			[]string{"hole 20480+20480", "data 40960+512", "error 5 at 41472"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDisk(8 << 20)
			d.cached = func(int64, int64) bool { return false }
			d.extents = listed(c.extents...)
			d.before = func(call string, _, _ int64) error {
				if call == "read" {
					return &shortError{c.n}
				}
				return nil
			}
			cl := start(t, serving(d), Options{}).connect(true)
			cl.send(requestBytes(c.flags, cmdRead, 9, 20480, 40960))
			if got := cl.chunks(); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// While all workers that may have short reads do, what comes is gathered, and then done
// together; other requests are not held up. If one of those together cannot be read that
// one is told so.
func TestShortReadsAreDoneTogether(t *testing.T) {
	const size, page, more = 4 << 20, 4096, 2*maxTogether + 8
	const base, bad = size / 2, size/2 + (maxReading+5)*page
	for _, structured := range []bool{false, true} {
		for _, broken := range []bool{false, true} {
			d, gate := newDisk(size), make(chan struct{})
			d.cached = func(int64, int64) bool { return false }
			d.before = func(call string, off, _ int64) error {
				if call != "read" && call != "gather" {
					return nil
				}
				<-gate
				if broken && call == "read" && off == bad {
					return errors.New("broken")
				}
				return nil
			}
			for i := range int64(maxReading + more) {
				d.write(bytes.Repeat([]byte{byte(i + 1)}, page), base+i*page)
			}
			s := start(t, serving(d), Options{})
			cl := s.connect(structured)
			for i := range uint64(maxReading + more) {
				cl.send(requestBytes(0, cmdRead, i, base+i*page, page))
				// As many workers as there may be, each with the first that it has found.
				until(t, "a worker has it", func() bool { return i >= maxReading || d.called(fmt.Sprintf("read %d+%d", base+i*page, page)) })
			}
			cl.send(requestBytes(0, cmdTrim, 999, 0, page))
			if k := cl.chunk(0); k.cookie != 999 || k.err != 0 {
				t.Fatalf("the first reply is to %d, with error %d", k.cookie, k.err)
			}
			close(gate)
			for range maxReading + more {
				k := cl.chunk(page)
				off := int64(base + k.cookie*page)
				switch wrong := broken && off == bad; {
				case wrong != (k.err != 0):
					t.Errorf("the page at %d: error %d", off, k.err)
				case !wrong && !bytes.Equal(k.data, bytes.Repeat([]byte{byte(k.cookie + 1)}, page)):
					t.Errorf("the page at %d is not what it should be", off)
				}
			}
			for i := range int64(3) {
				if n := min(maxTogether, more-i*maxTogether); !d.called(fmt.Sprintf("gather %d+%d", base+(maxReading+i*maxTogether)*page, n)) {
					t.Errorf("%d pages were not read together: %v", n, d.calls)
				}
			}
		}
	}
}

// Random reads of random contents give the same bytes in every manner of
// asking: simple, structured, in one piece, hit, miss, and longer than a batch.
func TestReadsAgree(t *testing.T) {
	r := newRand(t)
	d := newDisk(8 << 20)
	hit := false
	d.cached = func(int64, int64) bool { return hit }
	for range 300 {
		p := make([]byte, 1+r.IntN(20000))
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		d.write(p, r.Int64N(d.size-int64(len(p))))
	}
	s := start(t, serving(d), Options{})
	simple, structured := s.connect(false), s.connect(true)
	for range 200 {
		n := 1 + r.IntN(10000)
		if r.IntN(4) == 0 {
			n = 1 + r.IntN(3*batchSize)
		}
		off := r.Int64N(d.size - int64(n))
		want := make([]byte, n)
		d.read(want, off)
		hit = r.IntN(2) == 0
		for name, got := range map[string][]byte{
			"simple":          simple.must(0, cmdRead, uint64(off), uint32(n), nil),
			"structured":      structured.must(0, cmdRead, uint64(off), uint32(n), nil),
			"in one fragment": structured.must(cmdFlagDF, cmdRead, uint64(off), uint32(n), nil),
		} {
			if !bytes.Equal(got, want) {
				t.Fatalf("%s read of %d at %d, hit %v: wrong bytes", name, n, off, hit)
			}
		}
	}
}

// A reply buffer fits its reply even if chunks and their headers fill it to the
// last byte of its size class.
func TestReadsAtBufferSizes(t *testing.T) {
	d := newDisk(64 << 20)
	d.cached = func(int64, int64) bool { return false }
	d.extents = func(off, n int64, yield func(device.Extent) bool) error {
		for at := int64(0); at < n; at += 4096 {
			if !yield(device.Extent{Off: off + at, Len: 4096, Hole: at/4096%2 == 1}) {
				break
			}
		}
		return nil
	}
	s := start(t, serving(d), Options{})
	simple, structured := s.connect(false), s.connect(true)
	for _, shift := range []int{minBufferShift, 13, 16, 17, 18, 20, maxBufferShift} {
		for _, n := range []int{1<<shift - 1, 1 << shift, 1<<shift + 1, 1<<shift + bufferSlack - dataHeaderSize,
			1<<shift + bufferSlack - simpleHeaderSize, 1<<shift + bufferSlack} {
			if n > MaxPayload {
				continue
			}
			simple.must(0, cmdRead, 0, uint32(n), nil)
			structured.must(0, cmdRead, 0, uint32(n), nil)
			structured.must(cmdFlagDF, cmdRead, 0, uint32(n), nil)
		}
	}
}

// status decodes a block status reply.
func status(t *testing.T, body []byte) (list []string) {
	t.Helper()
	if len(body) < 12 || (len(body)-4)%8 != 0 || binary.BigEndian.Uint32(body) != contextAllocationID {
		t.Fatalf("block status of %d bytes: %.40x", len(body), body)
	}
	for p := body[4:]; len(p) > 0; p = p[8:] {
		list = append(list, fmt.Sprintf("%d:%d", binary.BigEndian.Uint32(p), binary.BigEndian.Uint32(p[4:])))
	}
	return list
}

func TestBlockStatus(t *testing.T) {
	const page = 4096
	for _, c := range []struct {
		name    string
		flags   uint16
		off     uint64
		length  uint32
		extents []device.Extent
		want    []string
	}{
		{"data", 0, 0, page, []device.Extent{{Off: 0, Len: page}}, []string{"4096:0"}},
		{"hole", 0, 0, page, []device.Extent{{Off: 0, Len: page, Hole: true}}, []string{"4096:3"}},
		{"both", 0, 0, 2 * page, []device.Extent{{Off: 0, Len: page, Hole: true}, {Off: page, Len: page}}, []string{"4096:3", "4096:0"}},
		{"one", cmdFlagReqOne, 0, 2 * page, []device.Extent{{Off: 0, Len: page, Hole: true}, {Off: page, Len: page}}, []string{"4096:3"}},
		{"one, merged", cmdFlagReqOne, 0, 2 * page, []device.Extent{{Off: 0, Len: page}, {Off: page, Len: page}}, []string{"8192:0"}},
		{"cut to the range", 0, 512, 1024, []device.Extent{{Off: 0, Len: 1 << 50, Hole: true}}, []string{"1024:3"}},
		{"2^32-1 of a larger hole", 0, 1 << 32, math.MaxUint32, []device.Extent{{Off: 0, Len: 1 << 50, Hole: true}}, []string{"4294967295:3"}},
		{"nothing known", 0, 0, page, nil, []string{"4096:0"}},
		{"what is left out is data", 0, 0, 3 * page, []device.Extent{{Off: page, Len: page, Hole: true}}, []string{"4096:0", "4096:3", "4096:0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDisk(1 << 51)
			d.extents = listed(c.extents...)
			cl := start(t, serving(d), Options{}).connect(true)
			if got := status(t, cl.must(c.flags, cmdBlockStatus, c.off, c.length, nil)); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// An export of very many extents is answered in bounded pieces, which a client
// that asks on puts together to the whole.
func TestBlockStatusIsBounded(t *testing.T) {
	const size = 10 * maxStatusExtents * 512
	d := newDisk(size)
	d.extents = func(off, n int64, yield func(device.Extent) bool) error {
		for at := off &^ 511; at < off+n; at += 512 {
			if !yield(device.Extent{Off: at, Len: 512, Hole: at/512%2 == 0}) {
				break
			}
		}
		return nil
	}
	cl := start(t, serving(d), Options{}).connect(true)
	covered, replies := uint64(0), 0
	for covered < size {
		body := cl.must(0, cmdBlockStatus, covered, uint32(size-covered), nil)
		if n := (len(body) - 4) / 8; n > maxStatusExtents {
			t.Fatalf("%d extents in one reply", n)
		}
		for p := body[4:]; len(p) > 0; p = p[8:] {
			covered += uint64(binary.BigEndian.Uint32(p))
		}
		replies++
	}
	if covered != size || replies != 10 {
		t.Errorf("%d bytes covered in %d replies, want %d in 10", covered, replies, size)
	}
}
