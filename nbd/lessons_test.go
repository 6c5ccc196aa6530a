package nbd

import (
	"bytes"
	"math"
	"runtime"
	"testing"
	"time"
)

// The tests of this file are mistakes that other servers paid for.

// allocated returns how much the process allocates in f.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// CVE-2022-26495: a name length of 32 bits was allocated before it was checked.
// Lengths that cannot be true cost nothing, however often they come.
func TestLessonNameLengthIsCheckedFirst(t *testing.T) {
	s := start(t, two(), Options{})
	cl := s.greeted()
	cl.mustAck(optStructuredReply, nil)
	lie := cat(be32(math.MaxUint32), []byte("main"), be32(1))
	query := cat(lenText("main"), be32(1), be32(math.MaxUint32), []byte("base:"))
	n := allocated(func() {
		for range 50 {
			for _, code := range []uint32{optInfo, optGo, optListMeta, optSetMeta} {
				if typ := cl.final(code, lie); typ != repErrInvalid {
					t.Fatalf("option %d: reply %#x", code, typ)
				}
			}
			if typ := cl.final(optSetMeta, query); typ != repErrInvalid {
				t.Fatalf("reply %#x", typ)
			}
		}
	})
	if n > 4<<20 {
		t.Errorf("250 lies made the process allocate %d bytes", n)
	}
	cl.mustAck(optGo, infoData("main"))
}

// CVE-2022-26496: what is thrown away must not be read into something fixed.
// An option of any length is discarded in bounded memory, or ends the connection.
func TestLessonDiscardIsBounded(t *testing.T) {
	s := start(t, two(), Options{})
	for _, length := range []uint32{handshakeInput - 1, handshakeInput, handshakeInput + 1, maxOption, maxOption + 1, maxOptionDiscard} {
		cl := s.greeted()
		if typ := cl.final(99, bytes.Repeat([]byte{0x25}, int(length))); typ != repErrUnsup {
			t.Errorf("unknown option of %d bytes: reply %#x", length, typ)
		}
		cl.mustAck(optGo, infoData("main"))
	}
	for _, length := range []uint32{maxOptionDiscard + 1, 1 << 31, math.MaxUint32} {
		cl := s.greeted()
		cl.send(be64(magicOption), be32(99), be32(length))
		cl.expectEnd()
	}
}

// CVE-2024-7409: clients that connect and stay silent used up the server, and
// crashed it at shutdown. See TestHandshakeDeadline, TestConnectionsAreCapped and
// TestShutdownWithStalledClients; here, silent clients do not keep others out
// for longer than the deadline.
func TestLessonSilentClientsMakeRoom(t *testing.T) {
	s := start(t, two(), Options{MaxConns: 4, HandshakeTimeout: 100 * time.Millisecond})
	for range 4 {
		s.dial()
	}
	until(t, "a client gets in", func() bool {
		cl := s.dial()
		defer cl.Close()
		_, err := cl.Read(make([]byte, 1))
		return err == nil
	})
}

// CVE-2019-14850, CVE-2019-14851, CVE-2025-47711, CVE-2025-47712: assertions that
// a client could reach with lengths near 2^32 and offsets near 2^64. Every
// command with every such pair gets one reply, and the server stays up.
func TestLessonArithmeticNearItsLimits(t *testing.T) {
	offs := []uint64{0, 1, 511, 1<<32 - 1, 1 << 32, 1<<32 + 1, 1<<63 - 4096, 1<<63 - 1, 1 << 63, 1<<64 - 1<<32, 1<<64 - 1}
	lens := []uint32{0, 1, 511, 1<<31 - 1, 1 << 31, 1<<32 - 512, 1<<32 - 2, 1<<32 - 1}
	for _, size := range []int64{0, 1, 4096, 1 << 32, 1<<32 + 512, math.MaxInt64} {
		d := newDisk(size)
		s := start(t, serving(d), Options{})
		cl := s.connect(true)
		for _, typ := range []uint16{cmdRead, cmdTrim, cmdCache, cmdWriteZeroes, cmdBlockStatus, 8, 0xffff} {
			for _, off := range offs {
				for _, n := range lens {
					inside := off <= uint64(size) && uint64(n) <= uint64(size)-off
					code, _ := cl.do(0, typ, off, n, nil)
					if code == 0 && !inside {
						t.Fatalf("size %d: command %d for %d at %d succeeded", size, typ, n, off)
					}
				}
			}
		}
	}
}

// CVE-2019-14842: bytes that came before TLS was started were taken for bytes
// under it. Without TLS nothing is started: STARTTLS is refused, changes
// nothing, and what follows is what it was before, in the clear.
func TestLessonStartTLSChangesNothing(t *testing.T) {
	cl := start(t, two(), Options{}).greeted()
	cl.mustAck(optStructuredReply, nil)
	cl.send(optionBytes(optStartTLS, nil), optionBytes(optInfo, infoData("main")))
	if r := cl.optReplies(optStartTLS); r[0].typ != repErrUnsup {
		t.Errorf("reply %#x", r[0].typ)
	}
	if r := cl.optReplies(optInfo); r[len(r)-1].typ != repAck {
		t.Errorf("the option behind it: reply %#x", r[len(r)-1].typ)
	}
	cl.structured = true
	cl.mustAck(optGo, infoData("main"))
	cl.must(0, cmdRead, 0, 512, nil)
}

// An unknown command's "length" was discarded as if it were a payload, and the
// requests behind it with it. Only WRITE carries a payload.
func TestLessonOnlyWriteHasAPayload(t *testing.T) {
	for _, structured := range []bool{false, true} {
		cl := start(t, two(), Options{}).connect(structured)
		for _, typ := range []uint16{4, 5, 6, 7, 8, 9, 100, 0xffff} {
			cl.send(requestBytes(1<<15, typ, 77, 0, 4096), requestBytes(0, cmdRead, 78, 0, 512))
			if code, _ := cl.result(typ, 77, 0, 4096); code != nbdEINVAL {
				t.Errorf("command %d: error %d", typ, code)
			}
			if code, _ := cl.result(cmdRead, 78, 0, 512); code != 0 {
				t.Errorf("the read behind command %d: error %d", typ, code)
			}
		}
	}
}

// Requests of more than 32 MiB were treated as an attack. Up to 32 MiB works;
// beyond it a request without payload is refused, a write is refused as long as
// its payload can be thrown away, and the connection lives.
func TestLessonLongRequests(t *testing.T) {
	d := newDisk(256 << 20)
	for _, structured := range []bool{false, true} {
		d.cached = func(int64, int64) bool { return structured }
		{
			cl := start(t, serving(d), Options{}).connect(structured)
			p := bytes.Repeat([]byte{0xA5}, MaxPayload)
			cl.must(0, cmdWrite, 4096, MaxPayload, p)
			if got := cl.must(0, cmdRead, 4096, MaxPayload, nil); !bytes.Equal(got, p) {
				t.Error("32 MiB are not read back as written")
			}
			for _, n := range []uint32{MaxPayload + 1, 64 << 20, 1 << 31, math.MaxUint32} {
				if code, _ := cl.do(0, cmdRead, 0, n&^1|1, nil); code != nbdEINVAL {
					t.Errorf("read of %d: error %d", n, code)
				}
				if n <= 128<<20 {
					cl.must(0, cmdTrim, 128<<20, n, nil)
				}
			}
			if code, _ := cl.do(0, cmdWrite, 0, maxDiscard, make([]byte, maxDiscard)); code != nbdEINVAL {
				t.Errorf("write of %d: error %d", maxDiscard, code)
			}
			cl.must(0, cmdRead, 0, 512, nil)

			// A payload that will not be read ends the connection, after the error.
			cl.send(requestBytes(0, cmdWrite, 5, 0, maxDiscard+1))
			if k := cl.chunk(0); k.cookie != 5 || k.err != nbdEINVAL {
				t.Errorf("write of %d: %+v", maxDiscard+1, k)
			}
			cl.expectEnd()
		}
	}
}

// A refused write's payload is taken from the stream, whatever it is refused for.
func TestLessonRefusedPayloadIsTaken(t *testing.T) {
	d := newDisk(1 << 20)
	cl := start(t, serving(d), Options{}).connect(false)
	for _, n := range []uint32{1, 4096, inputSize - 28, inputSize, inputSize + 1, MaxPayload, MaxPayload + 4096} {
		// A payload that looks like requests must not be taken for some.
		trap := bytes.Repeat(requestBytes(0, cmdWriteZeroes, 666, 0, 1<<20), int(n)/requestHeaderSize+1)[:n]
		for _, c := range []struct {
			flags uint16
			off   uint64
			want  uint32
		}{{1 << 14, 0, nbdEINVAL}, {0, 1 << 62, nbdENOSPC}} {
			want := c.want
			if n > MaxPayload {
				want = nbdEINVAL
			}
			if code, _ := cl.do(c.flags, cmdWrite, c.off, n, trap); code != want {
				t.Errorf("write of %d at %d, flags %#x: error %d, want %d", n, c.off, c.flags, code, want)
			}
		}
	}
	if d.called("discard 0+1048576") {
		t.Error("a payload was taken for a request")
	}
}
