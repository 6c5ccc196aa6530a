package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

var (
	// errLeft ends a handshake whose client went away without a fault.
	errLeft = errors.New("client left during the handshake")
	errSlow = errors.New("handshake not finished in time")
)

// handshake is the state of option haggling. It ends with transmission or the
// connection.
type handshake struct {
	*conn
	noZeroes bool
	fixed    bool
	// context is the name of the export for which base:allocation was selected,
	// and selected says whether it was.
	context  string
	selected bool
	// out gathers the replies to one option.
	out []byte
}

// option is one option as it stands on the wire. data is valid until the next.
type option struct {
	code uint32
	data []byte
}

// handshake greets the client and answers its options until it has chosen an
// export, which is then open.
func (c *conn) handshake() error {
	h := &handshake{conn: c}
	if err := h.greet(); err != nil {
		return h.ended(err)
	}
	for {
		o, err := h.next()
		if err != nil {
			return h.ended(err)
		}
		done, err := h.answer(o)
		if werr := h.send(); err == nil {
			err = werr
		}
		if err != nil {
			return h.ended(err)
		}
		if done {
			c.status = h.selected && h.context == c.info.Name
			return h.ended(c.begin())
		}
	}
}

// ended tells a client that left, or was asked to, from one that is at fault.
func (h *handshake) ended(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), h.draining.Load():
		return errLeft
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errSlow
	default:
		return err
	}
}

func (h *handshake) greet() error {
	h.out = binary.BigEndian.AppendUint64(h.out, magicServer)
	h.out = binary.BigEndian.AppendUint64(h.out, magicOption)
	h.out = binary.BigEndian.AppendUint16(h.out, handshakeFixedNewstyle|handshakeNoZeroes)
	if err := h.send(); err != nil {
		return err
	}
	if err := h.in.fill(4); err != nil {
		return err
	}
	flags := binary.BigEndian.Uint32(h.in.take(4))
	if unknown := flags &^ (handshakeFixedNewstyle | handshakeNoZeroes); unknown != 0 {
		return fmt.Errorf("%w: unknown client flags %#x", errProtocol, unknown)
	}
	h.fixed = flags&handshakeFixedNewstyle != 0
	h.noZeroes = flags&handshakeNoZeroes != 0
	return nil
}

// next reads one option. One that is too long to look at is thrown away and
// answered, and the one after it is read.
func (h *handshake) next() (option, error) {
	for {
		if err := h.in.fill(optionHeaderSize); err != nil {
			return option{}, err
		}
		p := h.in.take(optionHeaderSize)
		code, length := binary.BigEndian.Uint32(p[8:]), binary.BigEndian.Uint32(p[12:])
		if magic := binary.BigEndian.Uint64(p); magic != magicOption {
			return option{}, fmt.Errorf("%w: option begins with %#x", errProtocol, magic)
		}
		if !h.fixed && code != optExportName {
			return option{}, fmt.Errorf("%w: option %d without fixed newstyle", errProtocol, code)
		}
		if length <= maxOption {
			h.in.grow(int(length))
			if err := h.in.fill(int(length)); err != nil {
				return option{}, midMessage(err)
			}
			return option{code, h.in.take(int(length))}, nil
		}
		if err := h.skip(code, length); err != nil {
			return option{}, err
		}
	}
}

// skip throws an option's data away and answers it with an error.
func (h *handshake) skip(code, length uint32) error {
	if length > maxOptionDiscard || code == optExportName {
		return fmt.Errorf("%w: option %d of %d bytes", errProtocol, code, length)
	}
	if err := h.in.discard(int64(length)); err != nil {
		return err
	}
	switch {
	case code == optAbort:
		h.reply(code, repAck, nil)
		h.send()
		return errLeft
	case !known(code):
		h.refuse(code, repErrUnsup, "option not supported")
	default:
		if code == optSetMeta {
			h.selected = false
		}
		h.refuse(code, repErrTooBig, "option too long")
	}
	return h.send()
}

// known says whether the server implements an option.
func known(code uint32) bool {
	switch code {
	case optExportName, optAbort, optList, optInfo, optGo, optStructuredReply, optListMeta, optSetMeta:
		return true
	}
	return false
}

// reply appends a reply to an option.
func (h *handshake) reply(code, typ uint32, data []byte) {
	h.out = binary.BigEndian.AppendUint64(h.out, magicOptReply)
	h.out = binary.BigEndian.AppendUint32(h.out, code)
	h.out = binary.BigEndian.AppendUint32(h.out, typ)
	h.out = binary.BigEndian.AppendUint32(h.out, uint32(len(data)))
	h.out = append(h.out, data...)
}

// refuse appends an error reply with a sentence for people.
func (h *handshake) refuse(code, typ uint32, text string) {
	h.reply(code, typ, []byte(text[:min(len(text), maxString)]))
}

// send writes the gathered replies.
func (h *handshake) send() error {
	if len(h.out) == 0 {
		return nil
	}
	_, err := h.nc.Write(h.out)
	h.out = h.out[:0]
	return err
}
