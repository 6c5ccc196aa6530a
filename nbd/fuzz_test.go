package nbd

import (
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"testing"
	"time"
)

// fuzzConn lets one client send data, after the given prelude, to a server of
// its own, and checks that the connection ends, every export is closed, and
// nothing stays in flight.
func fuzzConn(t *testing.T, prelude, data []byte) {
	d := newDisk(1<<63 - 1)
	d.cached = func(off, n int64) bool { return n < 1<<20 && off/4096%2 == 0 }
	ex := new(catalogue).add(Info{Name: "main", Description: "fuzzed"}, d)
	ex.add(Info{Name: "ro", ReadOnly: true}, newDisk(1<<32+1))
	s := NewServer(Options{Exports: ex})

	near, far := net.Pipe()
	s.start(far)
	watchdog := time.AfterFunc(patience, func() { panic("the connection hangs") })
	drained := make(chan struct{})
	go func() { defer close(drained); io.Copy(io.Discard, near) }()
	near.Write(prelude)
	near.Write(data)
	near.Close()
	<-drained
	(&testServer{Server: s, t: t}).shutdown()
	watchdog.Stop()
	ex.checkClosed(t)
	if got := len(s.Stats().Clients); got != 0 {
		t.Errorf("%d connections are left", got)
	}
	// Buffers of connections that ended may wait for the collector.
	var mem runtime.MemStats
	if runtime.ReadMemStats(&mem); mem.HeapInuse > 512<<20 {
		t.Errorf("%d bytes of heap are in use", mem.HeapInuse)
	}
}

// FuzzServer sends arbitrary bytes during the handshake (phase 0), and after it,
// with simple (1) and structured replies (2).
func FuzzServer(f *testing.F) {
	flags := be32(handshakeFixedNewstyle | handshakeNoZeroes)
	structured := cat(optionBytes(optStructuredReply, nil), optionBytes(optSetMeta, metaData("", contextAllocation)))
	preludes := [][]byte{
		nil,
		cat(flags, optionBytes(optGo, infoData(""))),
		cat(flags, structured, optionBytes(optGo, infoData("", infoBlockSize))),
	}
	f.Add(byte(0), cat(flags, optionBytes(optList, nil), optionBytes(optAbort, nil)))
	f.Add(byte(0), cat(flags, structured, optionBytes(optListMeta, metaData("main", "base:")), optionBytes(optInfo, infoData("ro", 0, 1, 2, 3))))
	f.Add(byte(0), cat(be32(0), optionBytes(optExportName, []byte("main")), requestBytes(0, cmdRead, 1, 0, 512)))
	f.Add(byte(0), cat(flags, optionBytes(optGo, cat(be32(1<<32-1), be16(0)))))
	f.Add(byte(0), cat(flags, be64(magicOption), be32(99), be32(maxOption+1)))
	for _, phase := range []byte{1, 2} {
		var all []byte
		for typ := range uint16(10) {
			all = append(all, requestBytes(cmdFlagFUA, typ, uint64(typ), 1<<32-512, 1024)...)
			if typ == cmdWrite {
				all = append(all, make([]byte, 1024)...)
			}
			if typ != cmdDisc {
				f.Add(phase, all)
			}
			f.Add(phase, requestBytes(0, typ, 1, 1<<63-1, 1<<32-1))
		}
		f.Add(phase, cat(requestBytes(0, cmdWrite, 1, 4096, 5000), make([]byte, 5000), requestBytes(0, cmdFlush, 2, 0, 0)))
		f.Add(phase, requestBytes(0, cmdRead, 1, 4096, MaxPayload))
		f.Add(phase, binary.BigEndian.AppendUint32(nil, magicRequest))
	}
	f.Fuzz(func(t *testing.T, phase byte, data []byte) {
		fuzzConn(t, preludes[int(phase)%len(preludes)], data)
	})
}

// FuzzParser takes arbitrary option data apart. What it takes lies inside.
func FuzzParser(f *testing.F) {
	f.Add(infoData("main", 1, 2, 3))
	f.Add(metaData("main", "base:allocation"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := parser{rest: data}
		taken := 0
		name := p.text()
		taken += len(name)
		for n := p.uint32(); n > 0 && !p.bad; n-- {
			taken += len(p.text())
		}
		if len(name) > maxString || taken > len(data) || p.finished() && p.bad {
			t.Errorf("took %d of %d bytes, name %d", taken, len(data), len(name))
		}
	})
}
