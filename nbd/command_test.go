package nbd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"testing"

	"holdfast.dev/holdfast/device"
)

// Each command at each edge of exports of several sizes gets exactly this
// error, in both kinds of replies, hit or miss, and the stream stays in step.
func TestEdges(t *testing.T) {
	const huge = math.MaxInt64 &^ 4095
	type probe struct {
		name   string
		size   int64
		flags  uint16
		typ    uint16
		off    uint64
		length uint32
		want   uint32
	}
	probes := []probe{
		{"read at the end", 8192, 0, cmdRead, 4096, 4096, 0},
		{"read the last byte", 8192, 0, cmdRead, 8191, 1, 0},
		{"read past the end", 8192, 0, cmdRead, 8191, 2, nbdEINVAL},
		{"read behind the end", 8192, 0, cmdRead, 8193, 1, nbdEINVAL},
		{"read nothing at the end", 8192, 0, cmdRead, 8192, 0, 0},
		{"read nothing behind the end", 8192, 0, cmdRead, 8193, 0, nbdEINVAL},
		{"read, sum wraps", 8192, 0, cmdRead, math.MaxUint64, 2, nbdEINVAL},
		{"read, sum wraps to inside", 8192, 0, cmdRead, math.MaxUint64 - 4095, 8192, nbdEINVAL},
		{"read at 2^63", huge, 0, cmdRead, 1 << 63, 512, nbdEINVAL},
		{"read to the end near 2^63", huge, 0, cmdRead, huge - 512, 512, 0},
		{"read over the end near 2^63", huge, 0, cmdRead, huge - 511, 512, nbdEINVAL},
		{"read across 2^32", 1 << 40, 0, cmdRead, 1<<32 - 2048, 4096, 0},
		{"read with FUA", 8192, cmdFlagFUA, cmdRead, 0, 512, 0},
		{"read with a flag of others", 8192, cmdFlagNoHole, cmdRead, 0, 512, nbdEINVAL},
		{"read with an unknown flag", 8192, 1 << 9, cmdRead, 0, 512, nbdEINVAL},

		{"write to the end", 8192, 0, cmdWrite, 4096, 4096, 0},
		{"write past the end", 8192, 0, cmdWrite, 8191, 2, nbdENOSPC},
		{"write behind the end", 8192, 0, cmdWrite, 1 << 20, 4096, nbdENOSPC},
		{"write, sum wraps", 8192, 0, cmdWrite, math.MaxUint64, 2, nbdENOSPC},
		{"write at 2^63", huge, 0, cmdWrite, 1 << 63, 512, nbdENOSPC},
		{"write near 2^63", huge, cmdFlagFUA, cmdWrite, huge - 512, 512, 0},
		{"write across 2^32", 1 << 40, 0, cmdWrite, 1<<32 - 2048, 4096, 0},
		{"write nothing", 8192, 0, cmdWrite, 0, 0, 0},
		{"write with DF", 8192, cmdFlagDF, cmdWrite, 0, 512, nbdEINVAL},
		{"write with the payload flag of an extension", 8192, 1 << 5, cmdWrite, 0, 512, nbdEINVAL},

		{"flush", 8192, 0, cmdFlush, 0, 0, 0},
		{"flush with FUA", 8192, cmdFlagFUA, cmdFlush, 0, 0, 0},
		{"flush with an offset", 8192, 0, cmdFlush, 1, 0, nbdEINVAL},
		{"flush with a length", 8192, 0, cmdFlush, 0, 512, nbdEINVAL},

		{"trim all", 8192, 0, cmdTrim, 0, 8192, 0},
		{"trim past the end", 8192, 0, cmdTrim, 4096, 4097, nbdEINVAL},
		{"trim 2^32-1", 1 << 40, cmdFlagFUA, cmdTrim, 1 << 39, math.MaxUint32, 0},
		{"trim 2^32-1 of less", 1 << 20, 0, cmdTrim, 0, math.MaxUint32, nbdEINVAL},
		{"trim with NO_HOLE", 8192, cmdFlagNoHole, cmdTrim, 0, 512, nbdEINVAL},

		{"cache all", 8192, 0, cmdCache, 0, 8192, 0},
		{"cache 2^32-1", 1 << 40, 0, cmdCache, 5, math.MaxUint32, 0},
		{"cache past the end", 8192, 0, cmdCache, 8192, 1, nbdEINVAL},

		{"zero all", 8192, 0, cmdWriteZeroes, 0, 8192, 0},
		{"zero 2^32-1", 1 << 40, cmdFlagNoHole | cmdFlagFUA, cmdWriteZeroes, 1 << 33, math.MaxUint32, 0},
		{"zero past the end", 8192, 0, cmdWriteZeroes, 4096, 4097, nbdENOSPC},
		{"zero fast", 8192, cmdFlagFastZero, cmdWriteZeroes, 0, 512, 0},
		{"zero fast without a hole", 8192, cmdFlagFastZero | cmdFlagNoHole, cmdWriteZeroes, 0, 512, nbdENOTSUP},
		{"zero fast past the end", 8192, cmdFlagFastZero | cmdFlagNoHole, cmdWriteZeroes, 8192, 512, nbdENOSPC},

		{"unknown command", 8192, 0, 8, 0, 4096, nbdEINVAL},
		{"unknown command, all bits", 8192, 0xffff, 0xffff, math.MaxUint64, math.MaxUint32, nbdEINVAL},
	}
	for _, structured := range []bool{false, true} {
		for _, hit := range []bool{false, true} {
			for _, p := range probes {
				t.Run(fmt.Sprintf("%s/structured=%v,hit=%v", p.name, structured, hit), func(t *testing.T) {
					d := newDisk(p.size)
					d.cached = func(int64, int64) bool { return hit }
					cl := start(t, serving(d), Options{}).connect(structured)
					var payload []byte
					if p.typ == cmdWrite {
						payload = bytes.Repeat([]byte{7}, int(p.length))
					}
					code, data := cl.do(p.flags, p.typ, p.off, p.length, payload)
					if code != p.want {
						t.Errorf("error %d, want %d", code, p.want)
					}
					if p.typ == cmdRead && code == 0 && !bytes.Equal(data, make([]byte, p.length)) {
						t.Error("the empty export does not read as zeros")
					}
					if p.typ == cmdWrite && code == 0 && !bytes.Equal(cl.must(0, cmdRead, p.off, p.length, nil), payload) {
						t.Error("what was written is not read back")
					}
					cl.must(0, cmdRead, 0, 512, nil)
				})
			}
		}
	}
}

func TestBlockStatusEdges(t *testing.T) {
	for _, c := range []struct {
		flags  uint16
		off    uint64
		length uint32
		want   uint32
	}{
		{0, 0, 8192, 0}, {0, 8191, 1, 0}, {cmdFlagReqOne | cmdFlagFUA, 0, 8192, 0},
		{0, 0, 0, nbdEINVAL}, {0, 8192, 1, nbdEINVAL}, {0, 4096, 4097, nbdEINVAL},
		{0, math.MaxUint64, math.MaxUint32, nbdEINVAL}, {cmdFlagDF, 0, 512, nbdEINVAL},
	} {
		cl := start(t, serving(newDisk(8192)), Options{}).connect(true)
		if code, _ := cl.do(c.flags, cmdBlockStatus, c.off, c.length, nil); code != c.want {
			t.Errorf("status of %d at %d with flags %#x: error %d, want %d", c.length, c.off, c.flags, code, c.want)
		}
	}
}

// A read-only export refuses every change, payload and all, and does the rest.
func TestReadOnly(t *testing.T) {
	d := newDisk(1 << 20)
	s := start(t, new(catalogue).add(Info{Name: "ro", ReadOnly: true}, d), Options{})
	for _, structured := range []bool{false, true} {
		cl := s.connect(structured)
		for _, c := range []struct {
			typ    uint16
			length uint32
			want   uint32
		}{
			{cmdWrite, 4096, nbdEPERM}, {cmdTrim, 4096, nbdEPERM}, {cmdWriteZeroes, 4096, nbdEPERM},
			{cmdRead, 4096, 0}, {cmdFlush, 0, 0}, {cmdCache, 4096, 0},
		} {
			var payload []byte
			if c.typ == cmdWrite {
				payload = make([]byte, c.length)
			}
			if code, _ := cl.do(0, c.typ, 0, c.length, payload); code != c.want {
				t.Errorf("%s: error %d, want %d", commandName(c.typ), code, c.want)
			}
		}
	}
	if len(d.pages) != 0 {
		t.Error("a read-only export was changed")
	}
}

// Every error of an export reaches the client as the protocol names it, and
// nothing else of it does.
func TestExportErrors(t *testing.T) {
	boom := map[string]error{
		"io":    &device.OpError{Op: "write", Name: "/secret", Err: device.ErrIO},
		"space": fmt.Errorf("pool: %w", device.ErrNoSpace),
		"range": fmt.Errorf("shrunk: %w", device.ErrOutOfRange),
	}
	for _, c := range []struct {
		call, err string
		flags     uint16
		typ       uint16
		want      uint32
	}{
		{"read", "io", 0, cmdRead, nbdEIO}, {"read", "range", 0, cmdRead, nbdEINVAL},
		{"write", "io", 0, cmdWrite, nbdEIO}, {"write", "space", 0, cmdWrite, nbdENOSPC}, {"write", "range", 0, cmdWrite, nbdENOSPC},
		{"syncrange", "io", cmdFlagFUA, cmdWrite, nbdEIO}, {"syncrange", "io", 0, cmdWrite, nbdOK},
		{"sync", "io", 0, cmdFlush, nbdEIO}, {"sync", "space", 0, cmdFlush, nbdENOSPC},
		{"discard", "io", 0, cmdTrim, nbdEIO}, {"discard", "range", 0, cmdTrim, nbdEINVAL},
		{"syncrange", "io", cmdFlagFUA, cmdTrim, nbdEIO}, {"syncrange", "io", cmdFlagFUA, cmdWriteZeroes, nbdEIO},
		{"discard", "space", 0, cmdWriteZeroes, nbdENOSPC}, {"zero", "space", cmdFlagNoHole, cmdWriteZeroes, nbdENOSPC},
		{"zero", "space", 0, cmdWriteZeroes, nbdOK}, {"prefetch", "io", 0, cmdCache, nbdEIO},
		{"extents", "io", 0, cmdBlockStatus, nbdEIO}, {"extents", "io", 0, cmdRead, nbdOK},
	} {
		for _, structured := range []bool{false, true} {
			if c.typ == cmdBlockStatus && !structured {
				continue
			}
			d := newDisk(1 << 20)
			d.cached = func(int64, int64) bool { return false }
			d.extents = allData
			d.before = func(call string, _, _ int64) error {
				if call == c.call {
					return boom[c.err]
				}
				return nil
			}
			cl := start(t, serving(d), Options{}).connect(structured)
			var payload []byte
			length := uint32(4096)
			switch c.typ {
			case cmdWrite:
				payload = make([]byte, length)
			case cmdFlush:
				length = 0
			}
			if code, _ := cl.do(c.flags, c.typ, 0, length, payload); code != c.want {
				t.Errorf("%s of %s fails (%s), structured %v: error %d, want %d", c.call, commandName(c.typ), c.err, structured, code, c.want)
			}
		}
	}
}

// What a write has done without waiting it does not do again when the rest has
// come: that would undo what another connection was told is written meanwhile.
func TestWriteIsDoneOnce(t *testing.T) {
	for _, length := range []int{8192, inputSize + 4096} {
		d := newDisk(4 << 20)
		d.cached = func(off, _ int64) bool { return off == 0 }
		cl := start(t, serving(d), Options{})
		other := cl.connect(false)
		d.before = func(call string, _, _ int64) error {
			if call == "write" {
				other.must(0, cmdWrite, 0, 512, bytes.Repeat([]byte{2}, 512))
			}
			return nil
		}
		one := cl.connect(false)
		one.must(0, cmdWrite, 0, uint32(length), bytes.Repeat([]byte{1}, length))
		got := one.must(0, cmdRead, 0, uint32(length), nil)
		want := append(bytes.Repeat([]byte{2}, 512), bytes.Repeat([]byte{1}, length-512)...)
		if !bytes.Equal(got, want) {
			t.Errorf("a write of %d bytes, the first page without waiting: it reads %d, %d, %d", length, got[0], got[512], got[length-1])
		}
	}
}

// FUA is accepted on every command; on those that change something the range is
// durable before the reply, whether the write hit, missed, or was long.
func TestFUA(t *testing.T) {
	for _, hit := range []bool{false, true} {
		d := newDisk(64 << 20)
		d.cached = func(int64, int64) bool { return hit }
		cl := start(t, serving(d), Options{}).connect(true)
		cl.must(cmdFlagFUA, cmdWrite, 4096, 4096, bytes.Repeat([]byte{1}, 4096))
		if got := d.durableByte(4096); got != 1 {
			t.Errorf("hit %v: after a write with FUA a crash leaves %d", hit, got)
		}
		cl.must(cmdFlagFUA, cmdWrite, 8192, inputSize+1, bytes.Repeat([]byte{2}, inputSize+1))
		if got := d.durableByte(8192 + inputSize); got != 2 {
			t.Errorf("hit %v: after a long write with FUA a crash leaves %d", hit, got)
		}
		cl.must(0, cmdWrite, 0, 4096, bytes.Repeat([]byte{3}, 4096))
		if got := d.durableByte(0); got != 0 {
			t.Errorf("hit %v: the test's disk made a plain write durable", hit)
		}
		cl.must(cmdFlagFUA, cmdTrim, 4096, 4096, nil)
		cl.must(cmdFlagFUA, cmdWriteZeroes, 8192, 4096, nil)
		if a, b := d.durableByte(4096), d.durableByte(8192); a != 0 || b != 0 {
			t.Errorf("hit %v: after trim and zeroing with FUA a crash leaves %d and %d", hit, a, b)
		}
		cl.must(cmdFlagFUA, cmdRead, 0, 4096, nil)
		cl.must(cmdFlagFUA, cmdCache, 0, 4096, nil)
		cl.must(cmdFlagFUA, cmdBlockStatus, 0, 4096, nil)
		cl.must(cmdFlagFUA, cmdFlush, 0, 0, nil)
		if got := d.durableByte(0); got != 3 {
			t.Errorf("hit %v: after a flush a crash leaves %d", hit, got)
		}
	}
}

func TestZeroingCallsWhatIsMeant(t *testing.T) {
	d := newDisk(1 << 20)
	cl := start(t, serving(d), Options{}).connect(false)
	for _, c := range []struct {
		flags uint16
		typ   uint16
		off   uint64
		call  string
	}{
		{0, cmdTrim, 0, "discard 0+4096"},
		{0, cmdWriteZeroes, 4096, "discard 4096+4096"},
		{cmdFlagFastZero, cmdWriteZeroes, 8192, "discard 8192+4096"},
		{cmdFlagNoHole, cmdWriteZeroes, 12288, "zero 12288+4096"},
		{0, cmdCache, 16384, "prefetch 16384+4096"},
	} {
		cl.must(c.flags, c.typ, c.off, 4096, nil)
		if !d.called(c.call) {
			t.Errorf("%s with flags %#x did not call %q: %v", commandName(c.typ), c.flags, c.call, d.calls)
		}
	}
}

// DISC finishes what is outstanding, replies, and closes.
func TestDiscFinishesWhatIsOutstanding(t *testing.T) {
	gate := make(chan struct{})
	d := newDisk(1 << 20)
	d.cached = func(off, n int64) bool { return off != 0 }
	d.before = func(string, int64, int64) error { <-gate; return nil }
	cl := start(t, serving(d), Options{}).connect(false)
	cl.send(requestBytes(0, cmdRead, 1, 0, 512), requestBytes(0, cmdRead, 2, 4096, 512), requestBytes(0, cmdDisc, 3, 0, 0))
	if k := cl.chunk(512); k.cookie != 2 {
		t.Fatalf("reply to %d first, want the hit's", k.cookie)
	}
	close(gate)
	if k := cl.chunk(512); k.cookie != 1 || k.err != 0 {
		t.Fatalf("reply to %d, error %d", k.cookie, k.err)
	}
	cl.expectEnd()
}

// A client that half-closes after its last request gets its replies.
func TestHalfCloseFinishesWhatIsOutstanding(t *testing.T) {
	d := newDisk(1 << 20)
	d.cached = func(int64, int64) bool { return false }
	cl := start(t, serving(d), Options{}).connect(false)
	cl.send(requestBytes(0, cmdRead, 1, 0, 512))
	if err := cl.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if k := cl.chunk(512); k.cookie != 1 || k.err != 0 {
		t.Fatalf("reply to %d, error %d", k.cookie, k.err)
	}
	cl.expectEnd()
}

func TestBadRequestMagicEndsTheConnection(t *testing.T) {
	s := start(t, serving(newDisk(1<<20)), Options{})
	cl := s.connect(false)
	bad := requestBytes(0, cmdRead, 1, 0, 512)
	binary.BigEndian.PutUint32(bad, magicRequest+1)
	cl.send(bad)
	cl.expectEnd()
}

// With structured replies errors come as chunks with a sentence, and errors of a
// READ never as simple replies.
func TestErrorsHaveASentence(t *testing.T) {
	cl := start(t, serving(newDisk(8192)), Options{}).connect(true)
	for _, typ := range []uint16{cmdRead, cmdTrim, cmdBlockStatus, 99} {
		cl.send(requestBytes(0, typ, 5, 8192, 512))
		k := cl.chunk(0)
		if k.simple || !k.done || k.typ != chunkError || k.text == "" {
			t.Errorf("%s: %+v", commandName(typ), k)
		}
	}
}

var errTest = errors.New("test failure")
