package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"holdfast.dev/holdfast/device"
)

var (
	errDisconnect = errors.New("client disconnected")
	errDraining   = errors.New("server is shutting down")
	errProtocol   = errors.New("protocol violated")
)

// command is a request as it stands on the wire, without its payload.
type command struct {
	flags  uint16
	typ    uint16
	cookie uint64
	off    uint64
	length uint32
}

// fua says whether what the command changes must be durable before the reply.
func (cmd *command) fua() bool { return cmd.flags&cmdFlagFUA != 0 }

// short says whether it is a read that is done together with others.
func (cmd *command) short() bool { return cmd.typ == cmdRead && cmd.length <= maxShort }

// request is a command in flight.
type request struct {
	command
	charge  int64   // what it may hold in buffers
	written int     // so much of the payload, from its start, the export has
	payload *buffer // what WRITE writes
	out     reply
	buf     *buffer  // where out.data lies, unless in small
	next    *request // in a queue for workers, or a worker's hands
	// small holds replies without data: the largest is an error with its text.
	small [128]byte
}

var requests = sync.Pool{New: func() any { return new(request) }}

func newRequest(cmd command, charge int64) *request {
	r := requests.Get().(*request)
	r.command, r.charge = cmd, charge
	r.out.req = r
	return r
}

// reserve gives r a buffer for its reply, and returns n bytes of it.
func (r *request) reserve(n int) []byte {
	if r.buf == nil || len(r.buf.b) < n {
		r.buf.free()
		r.buf = newBuffer(n)
	}
	return r.buf.b[:n]
}

// free gives r and its buffers back.
func (r *request) free() {
	r.payload.free()
	r.buf.free()
	r.payload, r.buf, r.written = nil, nil, 0
	r.out = reply{}
	requests.Put(r)
}

// next reads one request's header.
func (c *conn) next() (command, error) {
	if err := c.need(requestHeaderSize); err != nil {
		return command{}, err
	}
	h := c.in.take(requestHeaderSize)
	if magic := binary.BigEndian.Uint32(h); magic != magicRequest {
		return command{}, fmt.Errorf("%w: request begins with %#x, not %#x", errProtocol, magic, uint32(magicRequest))
	}
	return command{
		flags:  binary.BigEndian.Uint16(h[4:]),
		typ:    binary.BigEndian.Uint16(h[6:]),
		cookie: binary.BigEndian.Uint64(h[8:]),
		off:    binary.BigEndian.Uint64(h[16:]),
		length: binary.BigEndian.Uint32(h[24:]),
	}, nil
}

// need makes sure that n bytes are buffered; if it must read, replies go first.
func (c *conn) need(n int) error {
	if c.in.buffered() >= n {
		return nil
	}
	if err := c.flush(); err != nil {
		return err
	}
	return c.in.fill(n)
}

// refusal is why a command is not served: the error number, and a sentence for
// clients that can show one.
type refusal struct {
	code uint32
	text string
}

// Every text fits request.small.
var (
	refuseDraining  = &refusal{nbdESHUTDOWN, "the server is shutting down"}
	refuseCommand   = &refusal{nbdEINVAL, "unknown command"}
	refuseFlags     = &refusal{nbdEINVAL, "a flag that is unknown or not for this command"}
	refuseReadOnly  = &refusal{nbdEPERM, "the export is read-only"}
	refuseTooLong   = &refusal{nbdEINVAL, "longer than 32 MiB"}
	refuseContext   = &refusal{nbdEINVAL, "no metadata context was selected"}
	refuseEmpty     = &refusal{nbdEINVAL, "the range is empty"}
	refuseFlush     = &refusal{nbdEINVAL, "a flush has no range"}
	refuseRange     = &refusal{nbdEINVAL, "reaches past the end of the export"}
	refuseWriteEnd  = &refusal{nbdENOSPC, "reaches past the end of the export"}
	refuseFastZero  = &refusal{nbdENOTSUP, "zeroing in place may be no faster than writing"}
	refuseNoSpace   = &refusal{nbdENOSPC, "no space left"}
	refuseIOFailure = &refusal{nbdEIO, "input/output error"}
)

// vet says why a command must be refused, or nil.
func (c *conn) vet(cmd *command) *refusal {
	if c.draining.Load() {
		return refuseDraining
	}
	allowed, known := c.allowedFlags(cmd.typ)
	switch {
	case !known:
		return refuseCommand
	case cmd.flags&^allowed != 0:
		return refuseFlags
	case cmd.typ == cmdFlush && (cmd.off != 0 || cmd.length != 0):
		return refuseFlush
	case c.info.ReadOnly && changes(cmd.typ):
		return refuseReadOnly
	case (cmd.typ == cmdRead || cmd.typ == cmdWrite) && cmd.length > MaxPayload:
		return refuseTooLong
	case cmd.typ == cmdBlockStatus && !c.status:
		return refuseContext
	case cmd.typ == cmdBlockStatus && cmd.length == 0:
		return refuseEmpty
	}
	size := uint64(c.info.Size)
	if cmd.off > size || uint64(cmd.length) > size-cmd.off {
		return pastEnd(cmd.typ)
	}
	if cmd.flags&(cmdFlagFastZero|cmdFlagNoHole) == cmdFlagFastZero|cmdFlagNoHole {
		return refuseFastZero
	}
	return nil
}

// allowedFlags returns the flags that a command may have, and whether it is
// known. FUA is allowed for all: clients are known to set it anywhere.
func (c *conn) allowedFlags(typ uint16) (flags uint16, known bool) {
	switch typ {
	case cmdRead:
		if c.structured {
			return cmdFlagFUA | cmdFlagDF, true
		}
	case cmdWrite, cmdFlush, cmdTrim, cmdCache:
	case cmdWriteZeroes:
		return cmdFlagFUA | cmdFlagNoHole | cmdFlagFastZero, true
	case cmdBlockStatus:
		return cmdFlagFUA | cmdFlagReqOne, true
	default:
		return 0, false
	}
	return cmdFlagFUA, true
}

// changes says whether a command changes the export.
func changes(typ uint16) bool {
	return typ == cmdWrite || typ == cmdTrim || typ == cmdWriteZeroes
}

// pastEnd is the refusal of a command that reaches past the end.
func pastEnd(typ uint16) *refusal {
	if typ == cmdWrite || typ == cmdWriteZeroes {
		return refuseWriteEnd
	}
	return refuseRange
}

// failure is how a client is told that an export failed. Details stay here:
// they name things that are none of its business.
func failure(typ uint16, err error) *refusal {
	switch {
	case errors.Is(err, device.ErrNoSpace):
		return refuseNoSpace
	case errors.Is(err, device.ErrOutOfRange):
		return pastEnd(typ)
	default:
		return refuseIOFailure
	}
}
