package nbd

import "fmt"

// dispatch serves or refuses one command, or hands it to a worker. An error
// ends the connection.
func (c *conn) dispatch(cmd command) error {
	if cmd.typ == cmdDisc {
		return errDisconnect
	}
	if why := c.vet(&cmd); why != nil {
		return c.refuse(&cmd, why)
	}
	c.count.add(&cmd)
	switch {
	case cmd.length == 0 && cmd.typ != cmdFlush:
		c.commit(c.putDone(c.room(chunkHeaderSize), &cmd))
	case cmd.typ == cmdRead:
		c.serveRead(cmd)
	case cmd.typ == cmdWrite:
		return c.serveWrite(cmd)
	case cmd.typ == cmdBlockStatus:
		c.work(c.admit(cmd, statusReplySize))
	default:
		c.work(c.admit(cmd, 0))
	}
	return nil
}

// refuse replies with an error, after the payload, if there is one, has been
// taken from the stream.
func (c *conn) refuse(cmd *command, why *refusal) error {
	var err error
	if cmd.typ == cmdWrite {
		if cmd.length <= maxDiscard {
			err = c.discard(int64(cmd.length))
		} else {
			err = fmt.Errorf("%w: write of %d bytes", errProtocol, cmd.length)
		}
	}
	c.commit(c.putRefusal(c.room(len(request{}.small)), cmd.cookie, why))
	return err
}

// discard takes n bytes from the stream; if it must read, replies go first.
func (c *conn) discard(n int64) error {
	if int64(c.in.buffered()) < n {
		if err := c.flush(); err != nil {
			return err
		}
	}
	return c.in.discard(n)
}

// serveRead serves a READ from the export's memory into the batch, or, if it is too
// long for that, into a buffer of its own. A miss goes to a worker.
func (c *conn) serveRead(cmd command) {
	head, n := c.readHeaderSize(), int(cmd.length)
	if head+n <= batchSize {
		p := c.room(head + n)
		if c.export.TryReadAt(p[head:], int64(cmd.off)) {
			c.putReadHeader(p, &cmd)
			c.commit(head + n)
			return
		}
		c.work(c.admit(cmd, int64(n)))
		return
	}
	r := c.admit(cmd, int64(n))
	r.out.data = r.reserve(head + n)
	if c.export.TryReadAt(r.out.data[head:], int64(cmd.off)) {
		c.putReadHeader(r.out.data, &cmd)
		c.flush()
		c.send(r)
		return
	}
	c.work(r)
}

// serveWrite serves a WRITE from where its payload was read to. A payload that fits
// the input buffer is used there, and copied only if a worker needs it; a
// longer one is read into a buffer of its own.
func (c *conn) serveWrite(cmd command) error {
	n := int(cmd.length)
	if n > len(c.in.buf) {
		return c.serveLongWrite(cmd)
	}
	if err := c.need(n); err != nil {
		return midMessage(err)
	}
	p := c.in.take(n)
	written := c.export.TryWriteAt(p, int64(cmd.off))
	if written < n {
		r := c.admit(cmd, int64(n))
		r.payload, r.written = newBuffer(n), written
		copy(r.payload.b, p)
		c.work(r)
		return nil
	}
	if cmd.fua() {
		r := c.admit(cmd, 0)
		r.written = n
		c.work(r)
		return nil
	}
	c.commit(c.putDone(c.room(chunkHeaderSize), &cmd))
	return nil
}

// serveLongWrite serves a WRITE whose payload does not fit the input buffer.
func (c *conn) serveLongWrite(cmd command) error {
	r := c.admit(cmd, int64(cmd.length))
	r.payload = newBuffer(int(cmd.length))
	p := r.payload.b[:cmd.length]
	err := c.flush()
	if err == nil {
		err = c.in.readInto(p)
	}
	if err != nil {
		c.mu.Lock()
		c.release(r)
		c.mu.Unlock()
		return err
	}
	r.written = c.export.TryWriteAt(p, int64(cmd.off))
	if r.written == len(p) && !cmd.fua() {
		r.out.data = r.small[:c.putDone(r.small[:], &cmd)]
		c.send(r)
		return nil
	}
	c.work(r)
	return nil
}
