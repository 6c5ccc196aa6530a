package nbd

import (
	"encoding/binary"

	"holdfast.dev/holdfast/device"
)

// statusReplySize bounds a BLOCK_STATUS reply: the chunk's header, the context,
// and the extents.
const statusReplySize = chunkHeaderSize + 4 + 8*maxStatusExtents

// queue holds requests, oldest first.
type queue struct{ first, last *request }

func (q *queue) push(r *request) {
	if q.first == nil {
		q.first = r
	} else {
		q.last.next = r
	}
	q.last = r
}

// pop takes the oldest out, at most n, chained to each other.
func (q *queue) pop(n int) *request {
	first := q.first
	last := first
	for ; n > 1 && last.next != nil; n-- {
		last = last.next
	}
	q.first, last.next = last.next, nil
	return first
}

// work queues an admitted request for the workers: one that rests is woken, or
// else another is started, if there may be more.
func (c *conn) work(r *request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.short() {
		c.mu.reads.push(r)
		if c.mu.reading == maxReading {
			return // one of those will take it
		}
	} else {
		c.mu.work.push(r)
	}
	switch {
	case c.mu.resting:
		c.mu.resting = false
		c.queued.Signal()
	case c.mu.workers < maxWorkers:
		c.mu.workers++
		go c.worker()
	}
}

func (c *conn) worker() {
	var parts []device.Part
	for r := c.take(false); r != nil; {
		read := r.short()
		if r.next != nil {
			parts = c.performReads(r, parts)
		} else {
			c.perform(r)
		}
		c.send(r)
		r = c.take(read)
	}
}

// take returns the oldest request that waits, or several short reads chained to each
// other, or nil if the worker is to end.
// With nothing to do one worker rests, and the others end. The one keeps its
// stack: where requests come one at a time, it would have to grow for each.
func (c *conn) take(read bool) *request {
	c.mu.Lock()
	defer c.mu.Unlock()
	if read {
		c.mu.reading--
	}
	for {
		switch {
		case c.mu.reads.first != nil && c.mu.reading < maxReading:
			c.mu.reading++
			return c.mu.reads.pop(maxTogether)
		case c.mu.work.first != nil:
			return c.mu.work.pop(1)
		case c.mu.resting || c.mu.ended:
			c.mu.workers--
			return nil
		}
		c.mu.resting = true
		c.queued.Wait() // whoever wakes it has ended its rest
	}
}

// dismiss ends the workers. Nothing is queued after it.
func (c *conn) dismiss() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.ended, c.mu.resting = true, false
	c.queued.Signal()
}

// perform does a request, waiting where it must, and leaves the reply in r.out.
func (c *conn) perform(r *request) {
	switch r.typ {
	case cmdRead:
		c.performRead(r)
		return
	case cmdBlockStatus:
		c.performStatus(r)
		return
	}
	err := c.change(r)
	if err == nil && r.fua() && changes(r.typ) {
		err = c.export.SyncRange(int64(r.off), int64(r.length))
	}
	if err != nil {
		c.fail(r, err)
		return
	}
	r.out.data = r.small[:c.putDone(r.small[:], &r.command)]
}

// change does what a request without data in its reply asks for.
func (c *conn) change(r *request) error {
	off, n := int64(r.off), int64(r.length)
	switch r.typ {
	case cmdWrite:
		at := int64(r.written)
		if at == n {
			return nil
		}
		_, err := c.export.WriteAt(r.payload.b[at:n], off+at)
		return err
	case cmdFlush:
		return c.export.Sync()
	case cmdTrim:
		return c.export.Discard(off, n)
	case cmdCache:
		return c.export.Prefetch(off, n)
	default: // cmdWriteZeroes: vet knows no others
		if r.flags&cmdFlagNoHole != 0 {
			return c.export.WriteZeroes(off, n)
		}
		return c.export.Discard(off, n)
	}
}

// fail makes r's reply the news that the export failed.
func (c *conn) fail(r *request, err error) {
	c.complain(&r.command, err)
	r.out.data = r.small[:c.putRefusal(r.small[:], r.cookie, failure(r.typ, err))]
}

// complain logs that the export failed.
func (c *conn) complain(cmd *command, err error) {
	c.srv.complain("export failed", "client", c.remote, "export", c.info.Name,
		"command", commandName(cmd.typ), "offset", cmd.off, "length", cmd.length, "err", err)
}

// performStatus lists the extents of a range, merged where neighbours are alike,
// until the range or the reply's limit is reached.
func (c *conn) performStatus(r *request) {
	limit := maxStatusExtents
	if r.flags&cmdFlagReqOne != 0 {
		limit = 1
	}
	p := r.reserve(statusReplySize)
	const first = chunkHeaderSize + 4
	at := first
	err := c.walk(int64(r.off), int64(r.length), func(e device.Extent) bool {
		status := uint32(0)
		if e.Hole {
			status = stateHole | stateZero
		}
		if at > first && binary.BigEndian.Uint32(p[at-4:]) == status {
			grown := binary.BigEndian.Uint32(p[at-8:]) + uint32(e.Len)
			binary.BigEndian.PutUint32(p[at-8:], grown)
			return true
		}
		if at == first+8*limit {
			return false
		}
		binary.BigEndian.PutUint32(p[at:], uint32(e.Len))
		binary.BigEndian.PutUint32(p[at+4:], status)
		at += 8
		return true
	})
	if err != nil {
		c.fail(r, err)
		return
	}
	putChunk(p, chunkDone, chunkBlockStatus, r.cookie, at-chunkHeaderSize)
	binary.BigEndian.PutUint32(p[chunkHeaderSize:], contextAllocationID)
	r.out.data = p[:at]
}

// walk yields the extents of [off, off+n), cut to it and without gaps: what the
// export leaves out is data. It yields at least one, and none of length zero.
func (c *conn) walk(off, n int64, yield func(device.Extent) bool) error {
	end, more := off+n, true
	err := c.export.Extents(off, n, func(e device.Extent) bool {
		stop := min(e.Off+e.Len, end)
		if e.Off > off && e.Off < end {
			more = yield(device.Extent{Off: off, Len: e.Off - off})
			off = e.Off
		}
		if more && stop > off {
			more = yield(device.Extent{Off: off, Len: stop - off, Hole: e.Hole})
			off = stop
		}
		return more && off < end
	})
	if err == nil && more && off < end {
		yield(device.Extent{Off: off, Len: end - off})
	}
	return err
}
