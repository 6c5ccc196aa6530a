package attach

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// The wire format, which doc.go describes.
const (
	messageSize = 128
	textSize    = 64
	magic       = 0x544d4648 // the bytes H F M T
	version     = 1
	reply       = 0x8000
)

// Kinds of requests. A reply has the kind of its request and the bit reply.
const (
	kindHello   = 1
	kindMap     = 2
	kindServe   = 3
	kindSync    = 4
	kindAdvise  = 5
	kindUnmap   = 6
	kindPin     = 7
	kindUnpin   = 8
	kindPagemap = 9
)

// Flags of a map request. That of its reply is mapAsync: the mode was chosen.
const (
	mapStore     = 1
	mapAsync     = 2 // the client can do with the asynchronous mode
	mapAsyncOnly = 4 // and with no other
)

// unpinUnchanged is the flag of an unpin request that leaves the pages clean.
const unpinUnchanged = 1

// message is a request or a reply.
type message struct {
	kind         uint16
	id           uint64
	status       uint32
	flags        uint32
	window       uint64
	off, n, addr uint64
	text         string
}

// put writes the message's wire format. A longer text is cut off: it is for a
// person to read.
func (m *message) put(p *[messageSize]byte) {
	le := binary.LittleEndian
	clear(p[:])
	le.PutUint32(p[0:], magic)
	le.PutUint16(p[4:], version)
	le.PutUint16(p[6:], m.kind)
	le.PutUint64(p[8:], m.id)
	le.PutUint32(p[16:], m.status)
	le.PutUint32(p[20:], m.flags)
	le.PutUint64(p[24:], m.window)
	le.PutUint64(p[32:], m.off)
	le.PutUint64(p[40:], m.n)
	le.PutUint64(p[48:], m.addr)
	copy(p[messageSize-textSize:], m.text)
}

// parse reads a message from what one packet held.
func parse(p []byte) (message, error) {
	if len(p) != messageSize {
		return message{}, fmt.Errorf("%w: a message of %d bytes, not %d", errProtocol, len(p), messageSize)
	}
	le := binary.LittleEndian
	if found := le.Uint32(p[0:]); found != magic {
		return message{}, fmt.Errorf("%w: magic %#x, not %#x", errProtocol, found, uint32(magic))
	}
	if found := le.Uint16(p[4:]); found != version {
		return message{}, fmt.Errorf("%w: version %d, not %d", errProtocol, found, version)
	}
	if found := le.Uint64(p[56:]); found != 0 {
		return message{}, fmt.Errorf("%w: %#x in the reserved field", errProtocol, found)
	}
	text, _, _ := bytes.Cut(p[messageSize-textSize:], []byte{0})
	return message{
		kind:   le.Uint16(p[6:]),
		id:     le.Uint64(p[8:]),
		status: le.Uint32(p[16:]),
		flags:  le.Uint32(p[20:]),
		window: le.Uint64(p[24:]),
		off:    le.Uint64(p[32:]),
		n:      le.Uint64(p[40:]),
		addr:   le.Uint64(p[48:]),
		text:   string(text),
	}, nil
}
