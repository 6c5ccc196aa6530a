package nbd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"
)

func two() *catalogue {
	c := new(catalogue)
	c.add(Info{Name: "main", Description: "the main one"}, newDisk(1<<20))
	return c.add(Info{Name: "other", ReadOnly: true}, newDisk(1<<30))
}

const rwFlags = flagHasFlags | flagSendFlush | flagSendFUA | flagSendTrim | flagSendZeroes |
	flagCanMultiConn | flagSendCache | flagSendFastZero
const roFlags = flagHasFlags | flagReadOnly | flagSendFlush | flagSendFUA | flagCanMultiConn | flagSendCache

// Each option in each form gets exactly these replies, and haggling goes on.
func TestOptions(t *testing.T) {
	long := strings.Repeat("n", maxString+1)
	exact := strings.Repeat("n", maxString)
	exportInfo := func(size uint64, flags uint16) optReply {
		return optReply{repInfo, cat(be16(infoExport), be64(size), be16(flags))}
	}
	nameInfo := optReply{repInfo, cat(be16(infoName), []byte("main"))}
	descInfo := optReply{repInfo, cat(be16(infoDescription), []byte("the main one"))}
	sizeInfo := optReply{repInfo, cat(be16(infoBlockSize), be32(1), be32(4096), be32(32<<20))}
	ack := optReply{typ: repAck}
	alloc := func(id uint32) optReply {
		return optReply{repMetaContext, cat(be32(id), []byte("base:allocation"))}
	}
	fails := func(typ uint32) []optReply { return []optReply{{typ: typ}} }

	for _, c := range []struct {
		name       string
		structured bool
		code       uint32
		data       []byte
		want       []optReply
	}{
		{"list", false, optList, nil, []optReply{
			{repServer, cat(lenText("main"), []byte("the main one"))}, {repServer, lenText("other")}, ack}},
		{"list with data", false, optList, []byte("x"), fails(repErrInvalid)},
		{"structured reply", false, optStructuredReply, nil, []optReply{ack}},
		{"structured reply with data", false, optStructuredReply, []byte("x"), fails(repErrInvalid)},
		{"starttls", false, optStartTLS, nil, fails(repErrUnsup)},
		{"extended headers", false, optExtendedHeaders, nil, fails(repErrUnsup)},
		{"peek export", false, 4, []byte("main"), fails(repErrUnsup)},
		{"unknown", false, 0xfffffffe, bytes.Repeat([]byte("z"), 5000), fails(repErrUnsup)},
		{"unknown, too long to look at", false, 99, make([]byte, maxOption+1), fails(repErrUnsup)},
		{"known, too long to look at", false, optInfo, make([]byte, maxOptionDiscard), fails(repErrTooBig)},

		{"info", false, optInfo, infoData("main"), []optReply{exportInfo(1<<20, rwFlags), ack}},
		{"info of the default", false, optInfo, infoData("", infoName), []optReply{exportInfo(1<<20, rwFlags), nameInfo, ack}},
		{"info, everything", false, optInfo, infoData("main", infoBlockSize, infoName, infoDescription, infoExport, 999),
			[]optReply{exportInfo(1<<20, rwFlags), nameInfo, descInfo, sizeInfo, ack}},
		{"info after structured", true, optInfo, infoData("main"), []optReply{exportInfo(1<<20, rwFlags|flagSendDF), ack}},
		{"info, no description", false, optInfo, infoData("other", infoDescription), []optReply{exportInfo(1<<30, roFlags), ack}},
		{"info of nothing", false, optInfo, infoData("nobody"), fails(repErrUnknown)},
		{"info, name of 4096", false, optInfo, infoData(exact), fails(repErrUnknown)},
		{"info, name of 4097", false, optInfo, infoData(long), fails(repErrInvalid)},
		{"info, no data", false, optInfo, nil, fails(repErrInvalid)},
		{"info, name past the end", false, optInfo, cat(be32(5), []byte("main"), be16(0)), fails(repErrInvalid)},
		{"info, name of 2^32-1", false, optInfo, cat(be32(0xffffffff), []byte("main"), be16(0)), fails(repErrInvalid)},
		{"info, too many items", false, optInfo, cat(lenText("main"), be16(2), be16(0)), fails(repErrInvalid)},
		{"info, too few items", false, optInfo, cat(lenText("main"), be16(0), be16(0)), fails(repErrInvalid)},
		{"go to nothing", false, optGo, infoData("nobody"), fails(repErrUnknown)},
		{"go, lengths wrong", false, optGo, cat(lenText("main"), be16(7)), fails(repErrInvalid)},

		{"list meta, not structured", false, optListMeta, metaData("main"), fails(repErrInvalid)},
		{"set meta, not structured", false, optSetMeta, metaData("main", "base:allocation"), fails(repErrInvalid)},
		{"list meta, all", true, optListMeta, metaData("main"), []optReply{alloc(0), ack}},
		{"list meta, namespace", true, optListMeta, metaData("main", "base:"), []optReply{alloc(0), ack}},
		{"list meta, foreign", true, optListMeta, metaData("main", "qemu:dirty-bitmap:x"), []optReply{ack}},
		{"set meta, none", true, optSetMeta, metaData("main"), []optReply{ack}},
		{"set meta", true, optSetMeta, metaData("", "x-y:z", "base:allocation"), []optReply{alloc(1), ack}},
		{"set meta, twice the same", true, optSetMeta, metaData("main", "base:allocation", "base:allocation"), []optReply{alloc(1), ack}},
		{"set meta, namespace", true, optSetMeta, metaData("main", "base:"), []optReply{ack}},
		{"set meta of nothing", true, optSetMeta, metaData("nobody", "base:allocation"), fails(repErrUnknown)},
		{"set meta, query past the end", true, optSetMeta, cat(lenText("main"), be32(1), be32(99), []byte("base:")), fails(repErrInvalid)},
		{"set meta, 2^32-1 queries", true, optSetMeta, cat(lenText("main"), be32(0xffffffff), lenText("base:")), fails(repErrInvalid)},
		{"set meta, bytes left over", true, optSetMeta, cat(metaData("main", "base:allocation"), []byte("x")), fails(repErrInvalid)},
		{"set meta, query of 4097", true, optSetMeta, metaData("main", long), fails(repErrInvalid)},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := start(t, two(), Options{}).greeted()
			if c.structured {
				cl.mustAck(optStructuredReply, nil)
			}
			got := cl.option(c.code, c.data)
			if len(got) != len(c.want) {
				t.Fatalf("%d replies, want %d: %+v", len(got), len(c.want), got)
			}
			for i, w := range c.want {
				// The text of an error is for people.
				if got[i].typ != w.typ || w.typ>>31 == 0 && !bytes.Equal(got[i].data, w.data) {
					t.Errorf("reply %d: %#x %q, want %#x %q", i, got[i].typ, got[i].data, w.typ, w.data)
				}
			}
			if typ := cl.final(optGo, infoData("main")); typ != repAck {
				t.Fatalf("out of step afterwards: GO got %#x", typ)
			}
			cl.must(0, cmdRead, 0, 512, nil)
		})
	}
}

// What ends the connection instead of an answer.
func TestHandshakeEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		send []byte
	}{
		{"unknown client flag", be32(1 << 7)},
		{"option with a bad magic", cat(be32(3), be64(magicRequest), be32(optList), be32(0))},
		{"not fixed newstyle, other option", cat(be32(0), optionBytes(optList, nil))},
		{"export name of nothing", cat(be32(3), optionBytes(optExportName, []byte("nobody")))},
		{"export name of 4097", cat(be32(3), optionBytes(optExportName, make([]byte, maxString+1)))},
		{"export name beyond any option", cat(be32(3), be64(magicOption), be32(optExportName), be32(maxOption+1))},
		{"option beyond the discard limit", cat(be32(3), be64(magicOption), be32(99), be32(maxOptionDiscard+1))},
		{"option of 2^32-1", cat(be32(3), be64(magicOption), be32(optSetMeta), be32(0xffffffff))},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, two(), Options{})
			cl := s.dial()
			cl.expectGreeting()
			cl.send(c.send)
			cl.expectEnd()
			for len(s.Stats().Clients) > 0 {
				time.Sleep(time.Millisecond)
			}
			if st := s.Stats(); st.Broken != 1 {
				t.Errorf("%d broken connections are counted, want 1", st.Broken)
			}
		})
	}
}

func TestAbortIsAcked(t *testing.T) {
	for name, size := range map[string]int{"plain": 0, "with data": 10, "with too much data": maxOption + 1} {
		t.Run(name, func(t *testing.T) {
			cl := start(t, two(), Options{}).greeted()
			cl.mustAck(optAbort, make([]byte, size))
			cl.expectEnd()
		})
	}
}

func TestExportName(t *testing.T) {
	for _, c := range []struct {
		name    string
		flags   uint32
		export  string
		padding int
		size    uint64
		tflags  uint16
	}{
		{"no zeroes", 3, "main", 0, 1 << 20, rwFlags},
		{"zeroes", 1, "main", exportNamePadding, 1 << 20, rwFlags},
		{"not fixed", 0, "main", exportNamePadding, 1 << 20, rwFlags},
		{"default", 3, "", 0, 1 << 20, rwFlags},
		{"read-only", 3, "other", 0, 1 << 30, roFlags},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := start(t, two(), Options{}).dial()
			cl.expectGreeting()
			cl.send(be32(c.flags), optionBytes(optExportName, []byte(c.export)))
			want := cat(be64(c.size), be16(c.tflags), make([]byte, c.padding))
			if got := cl.take(len(want)); !bytes.Equal(got, want) {
				t.Fatalf("answer %x, want %x", got, want)
			}
			cl.must(0, cmdRead, 0, 512, nil)
		})
	}
}

// Whatever INFO said, GO says.
func TestInfoThenGoTellTheSame(t *testing.T) {
	s := start(t, two(), Options{})
	for _, name := range []string{"", "main", "other"} {
		for _, structured := range []bool{false, true} {
			cl := s.greeted()
			if structured {
				cl.mustAck(optStructuredReply, nil)
			}
			data := infoData(name, infoName, infoDescription, infoBlockSize)
			a, b := cl.mustAck(optInfo, data), cl.mustAck(optGo, data)
			if len(a) != len(b) {
				t.Fatalf("%q: INFO has %d replies, GO %d", name, len(a), len(b))
			}
			for i := range a {
				if !bytes.Equal(a[i].data, b[i].data) {
					t.Errorf("%q: INFO says %x, GO %x", name, a[i].data, b[i].data)
				}
			}
		}
	}
}

// Contexts count for the export that they were selected for, and a failing
// SET_META_CONTEXT leaves none.
func TestContextsFollowTheExport(t *testing.T) {
	set := func(name string, q ...string) []byte { return optionBytes(optSetMeta, metaData(name, q...)) }
	for _, c := range []struct {
		name   string
		sets   [][]byte
		export string
		want   uint32
	}{
		{"same name", [][]byte{set("main", "base:allocation")}, "main", nbdOK},
		{"the default by both names", [][]byte{set("", "base:allocation")}, "main", nbdOK},
		{"another export", [][]byte{set("other", "base:allocation")}, "main", nbdEINVAL},
		{"replaced by none", [][]byte{set("main", "base:allocation"), set("main")}, "main", nbdEINVAL},
		{"replaced by a failure", [][]byte{set("main", "base:allocation"), set("nobody", "base:allocation")}, "main", nbdEINVAL},
		{"replaced by one too long", [][]byte{set("main", "base:allocation"), optionBytes(optSetMeta, make([]byte, maxOption+1))}, "main", nbdEINVAL},
		{"none", nil, "main", nbdEINVAL},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := start(t, two(), Options{}).greeted()
			cl.mustAck(optStructuredReply, nil)
			cl.structured = true
			for _, o := range c.sets {
				cl.send(o)
				cl.optReplies(optSetMeta)
			}
			cl.mustAck(optGo, infoData(c.export))
			if code, _ := cl.do(0, cmdBlockStatus, 0, 4096, nil); code != c.want {
				t.Errorf("block status: error %d, want %d", code, c.want)
			}
		})
	}
}

// An export that cannot be opened is reported without its reasons, and the
// client may choose another.
func TestOpenFails(t *testing.T) {
	ex := two()
	ex.opening = func(name string) error {
		if name == "main" {
			return errors.New("secret/path: broken")
		}
		return nil
	}
	cl := start(t, ex, Options{}).greeted()
	r := cl.option(optGo, infoData("main"))
	if len(r) != 1 || r[0].typ != repErrUnknown || bytes.Contains(r[0].data, []byte("secret")) {
		t.Fatalf("GO: %+v", r)
	}
	r = cl.mustAck(optGo, infoData("other"))
	if size := binary.BigEndian.Uint64(r[0].data[2:]); size != 1<<30 {
		t.Fatalf("size %d", size)
	}
}
