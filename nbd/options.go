package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// answer appends the replies to one option. done says that transmission begins;
// an error ends the connection after what was appended is sent.
func (h *handshake) answer(o option) (done bool, err error) {
	if o.code == optAbort {
		h.reply(o.code, repAck, nil)
		return false, errLeft
	}
	if h.draining.Load() {
		if o.code == optExportName {
			return false, errDraining
		}
		h.refuse(o.code, repErrShutdown, "the server is shutting down")
		return false, nil
	}
	switch o.code {
	case optExportName:
		return true, h.exportName(o)
	case optList:
		h.list(o)
	case optInfo:
		h.info(o)
	case optGo:
		return h.goOn(o), nil
	case optStructuredReply:
		if h.empty(o) {
			h.structured = true
			h.reply(o.code, repAck, nil)
		}
	case optListMeta, optSetMeta:
		h.meta(o)
	default:
		h.refuse(o.code, repErrUnsup, "option not supported")
	}
	return false, nil
}

// empty refuses an option that has data although it must have none.
func (h *handshake) empty(o option) bool {
	if len(o.data) != 0 {
		h.refuse(o.code, repErrInvalid, "this option takes no data")
	}
	return len(o.data) == 0
}

// exportName opens the export or ends the connection: the option has no way to
// report an error.
func (h *handshake) exportName(o option) error {
	if len(o.data) > maxString {
		return fmt.Errorf("%w: export name of %d bytes", errProtocol, len(o.data))
	}
	if err := h.open(o.data); err != nil {
		return err
	}
	h.out = binary.BigEndian.AppendUint64(h.out, uint64(h.conn.info.Size))
	h.out = binary.BigEndian.AppendUint16(h.out, transmissionFlags(h.conn.info, h.structured))
	if !h.noZeroes {
		h.out = append(h.out, make([]byte, exportNamePadding)...)
	}
	return nil
}

func (h *handshake) list(o option) {
	if !h.empty(o) {
		return
	}
	for _, i := range h.srv.o.Exports.List() {
		data := binary.BigEndian.AppendUint32(nil, uint32(len(i.Name)))
		data = append(data, i.Name...)
		h.reply(o.code, repServer, append(data, i.Description...))
	}
	h.reply(o.code, repAck, nil)
}

// open opens the export that the client means by name for the connection.
func (h *handshake) open(name []byte) error {
	i, ok := find(h.srv.o.Exports, name)
	if !ok {
		return fmt.Errorf("%w: %q", ErrNoExport, name)
	}
	e, err := h.srv.o.Exports.Open(i.Name)
	if err != nil {
		return fmt.Errorf("export %q: %w", i.Name, err)
	}
	i.Size = e.Size()
	h.export, h.conn.info = e, i
	return nil
}

// info answers INFO.
func (h *handshake) info(o option) {
	name, items, ok := h.parseInfo(o)
	if !ok {
		return
	}
	i, ok := find(h.srv.o.Exports, name)
	if !ok {
		h.refuseUnknown(o.code, name)
		return
	}
	h.describe(o.code, i, items)
}

// goOn answers GO, and says whether transmission begins.
func (h *handshake) goOn(o option) bool {
	name, items, ok := h.parseInfo(o)
	if !ok {
		return false
	}
	if err := h.open(name); err != nil {
		if errors.Is(err, ErrNoExport) {
			h.refuseUnknown(o.code, name)
		} else {
			h.srv.complain("export failed to open", "client", h.remote, "err", err)
			h.refuse(o.code, repErrUnknown, "the export cannot be opened")
		}
		return false
	}
	h.describe(o.code, h.conn.info, items)
	return true
}

func (h *handshake) refuseUnknown(code uint32, name []byte) {
	h.refuse(code, repErrUnknown, fmt.Sprintf("no export named %q", name))
}

// parseInfo takes the data of INFO and GO apart: a name, and the items of
// information that the client asks for, two bytes each.
func (h *handshake) parseInfo(o option) (name, items []byte, ok bool) {
	p := parser{rest: o.data}
	name = p.text()
	items = p.bytes(2 * uint64(p.uint16()))
	if !p.finished() {
		h.refuse(o.code, repErrInvalid, "lengths in the option do not add up")
		return nil, nil, false
	}
	return name, items, true
}

// describe appends what the client asked to know of an export, and the ack.
func (h *handshake) describe(code uint32, i Info, items []byte) {
	asked := func(item uint16) bool {
		for at := 0; at < len(items); at += 2 {
			if binary.BigEndian.Uint16(items[at:]) == item {
				return true
			}
		}
		return false
	}
	item := func(typ uint16) []byte { return binary.BigEndian.AppendUint16(nil, typ) }

	data := binary.BigEndian.AppendUint64(item(infoExport), uint64(i.Size))
	data = binary.BigEndian.AppendUint16(data, transmissionFlags(i, h.structured))
	h.reply(code, repInfo, data)
	if asked(infoName) {
		h.reply(code, repInfo, append(item(infoName), i.Name...))
	}
	if asked(infoDescription) && i.Description != "" {
		h.reply(code, repInfo, append(item(infoDescription), i.Description...))
	}
	if asked(infoBlockSize) {
		data = binary.BigEndian.AppendUint32(item(infoBlockSize), 1)
		data = binary.BigEndian.AppendUint32(data, preferredBlock)
		h.reply(code, repInfo, binary.BigEndian.AppendUint32(data, MaxPayload))
	}
	h.reply(code, repAck, nil)
}

// meta answers LIST_META_CONTEXT and SET_META_CONTEXT. The latter replaces what
// was selected before even if it fails.
func (h *handshake) meta(o option) {
	set := o.code == optSetMeta
	if set {
		h.selected = false
	}
	if !h.structured {
		h.refuse(o.code, repErrInvalid, "negotiate structured replies first")
		return
	}
	p := parser{rest: o.data}
	name := p.text()
	n := p.uint32()
	found := n == 0 && !set
	for ; n > 0 && !p.bad; n-- {
		q := string(p.text())
		found = found || q == contextAllocation || q == contextNamespace && !set
	}
	if !p.finished() {
		h.refuse(o.code, repErrInvalid, "lengths in the option do not add up")
		return
	}
	i, ok := find(h.srv.o.Exports, name)
	if !ok {
		h.refuseUnknown(o.code, name)
		return
	}
	if found {
		id := uint32(0)
		if set {
			h.selected, h.context, id = true, i.Name, contextAllocationID
		}
		h.reply(o.code, repMetaContext, slices.Concat(binary.BigEndian.AppendUint32(nil, id), []byte(contextAllocation)))
	}
	h.reply(o.code, repAck, nil)
}

// parser takes an option's data apart. Every length is checked against what is
// left before it is used; once something does not fit, bad stays set and all
// that is returned is empty.
type parser struct {
	rest []byte
	bad  bool
}

func (p *parser) bytes(n uint64) []byte {
	if p.bad || n > uint64(len(p.rest)) {
		p.bad = true
		return nil
	}
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b
}

func (p *parser) uint16() uint16 {
	if b := p.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (p *parser) uint32() uint32 {
	if b := p.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// text returns a string that its length precedes.
func (p *parser) text() []byte {
	n := p.uint32()
	if n > maxString {
		p.bad = true
	}
	return p.bytes(uint64(n))
}

// finished says whether all was taken and everything fitted.
func (p *parser) finished() bool { return !p.bad && len(p.rest) == 0 }
