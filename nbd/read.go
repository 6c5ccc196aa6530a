package nbd

import (
	"slices"

	"holdfast.dev/holdfast/device"
)

// performReads reads several ranges that are not in memory, those of the requests
// chained to the first, and leaves each's reply in its out. parts is memory to be used
// again. Where one fails each is read by itself, to tell whose that is.
func (c *conn) performReads(first *request, parts []device.Part) []device.Part {
	parts, head := slices.Grow(parts[:0], maxTogether), c.readHeaderSize()
	for r := first; r != nil; r = r.next {
		r.out.data = r.reserve(head + int(r.length))
		parts = append(parts, device.Part{P: r.out.data[head:], Off: int64(r.off)})
	}
	err := c.export.ReadScattered(parts)
	for r := first; r != nil; r = r.next {
		if err == nil {
			c.putReadHeader(r.out.data, &r.command)
		} else {
			c.performRead(r)
		}
	}
	clear(parts)
	return parts
}

// performRead reads a range that is not in memory, and leaves the reply in
// r.out.
func (c *conn) performRead(r *request) {
	if !c.structured {
		c.readSimple(r)
		return
	}
	var chunks [maxReadChunks]device.Extent
	n := c.split(r, &chunks)
	c.readChunks(r, chunks[:n])
}

// readSimple reads all or fails: a simple reply has no other choice.
func (c *conn) readSimple(r *request) {
	p := r.reserve(simpleHeaderSize + int(r.length))
	if _, err := c.export.ReadAt(p[simpleHeaderSize:], int64(r.off)); err != nil {
		c.fail(r, err)
		return
	}
	c.putReadHeader(p, &r.command)
	r.out.data = p
}

// split says in which parts a READ is answered: one, if it is too short to ask, or the
// client wants no fragments, or the export cannot tell; otherwise holes worth a chunk of
// their own and the data between them.
func (c *conn) split(r *request, chunks *[maxReadChunks]device.Extent) int {
	whole := device.Extent{Off: int64(r.off), Len: int64(r.length)}
	n := 0
	add := func(e device.Extent) bool {
		e.Hole = e.Hole && e.Len >= minHole
		if n > 0 && chunks[n-1].Hole == e.Hole {
			chunks[n-1].Len += e.Len
			return true
		}
		if n == maxReadChunks {
			chunks[n-1].Hole = false
			chunks[n-1].Len += e.Len
			return true
		}
		chunks[n] = e
		n++
		return true
	}
	if r.short() || r.flags&cmdFlagDF != 0 || c.walk(whole.Off, whole.Len, add) != nil {
		chunks[0], n = whole, 1
	}
	return n
}

// readChunks reads the parts of a range one after the other and lays the chunks
// out in one buffer. If a part fails, what was read of it precedes the error.
func (c *conn) readChunks(r *request, chunks []device.Extent) {
	size := len(r.small) // for an error at the end
	for _, e := range chunks {
		if e.Hole {
			size += holeChunkSize
		} else {
			size += dataHeaderSize + int(e.Len)
		}
	}
	p, at := r.reserve(size), 0
	for i, e := range chunks {
		flags := uint16(0)
		if i == len(chunks)-1 {
			flags = chunkDone
		}
		if e.Hole {
			at += putHole(p[at:], flags, r.cookie, uint64(e.Off), int(e.Len))
			continue
		}
		data := p[at+dataHeaderSize:][:e.Len]
		n, err := c.export.ReadAt(data, e.Off)
		if err != nil {
			at += c.putPartial(p[at:], r, e.Off, min(n, len(data)-1), err)
			break
		}
		at += putData(p[at:], flags, r.cookie, uint64(e.Off), len(data)) + len(data)
	}
	r.out.data = p[:at]
}

// putPartial ends the reply to a READ that failed after n more bytes from off:
// they go first, if there are any, then the error with its place.
func (c *conn) putPartial(p []byte, r *request, off int64, n int, err error) int {
	c.complain(&r.command, err)
	c.count.errors.Add(1)
	at := 0
	if n > 0 {
		at = putData(p, 0, r.cookie, uint64(off), n) + n
	}
	return at + putErrorOffset(p[at:], r.cookie, uint64(off)+uint64(max(n, 0)), failure(r.typ, err))
}
