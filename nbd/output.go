package nbd

// reply is bytes that wait to be written: a batch of the reader's, or the reply
// to one request.
type reply struct {
	data []byte
	req  *request // released when the reply was written; nil for a batch
	next *reply
	busy bool // a batch that is not yet written. Guarded by conn.mu.
}

// room returns n bytes at the end of the batch, flushing it first if it is too
// full; n is at most batchSize. commit keeps them.
func (c *conn) room(n int) []byte {
	if len(c.batch.data)+n > cap(c.batch.data) {
		c.flush()
	}
	at := len(c.batch.data)
	return c.batch.data[at : at+n]
}

func (c *conn) commit(n int) { c.batch.data = c.batch.data[:len(c.batch.data)+n] }

// flush hands the batch to the writer, and returns with an empty one. It
// reports that writing has failed, now or earlier.
func (c *conn) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.batch.data) == 0 {
		return c.mu.broken
	}
	c.batch.busy = true
	c.enqueue(c.batch)
	c.writeOut()
	for {
		for i := range c.batches {
			if b := &c.batches[i]; !b.busy {
				b.data = b.data[:0]
				c.batch = b
				return c.mu.broken
			}
		}
		c.wait()
	}
}

// send hands over the reply to a request, and to each that is chained to it, which are
// released when it is written.
func (c *conn) send(r *request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for r != nil {
		next := r.next
		r.next = nil
		c.enqueue(&r.out)
		r = next
	}
	c.writeOut()
}

// enqueue puts a reply in the queue. Requires c.mu.
func (c *conn) enqueue(r *reply) {
	if c.mu.out == nil {
		c.mu.out = r
	} else {
		c.mu.outTail.next = r
	}
	c.mu.outTail = r
}

// writeOut writes the queue of replies unless somebody is at it. Requires c.mu, which
// it gives up while writing.
func (c *conn) writeOut() {
	if c.mu.writing {
		return
	}
	c.mu.writing = true
	for c.mu.out != nil {
		c.writeSome()
	}
	c.mu.writing = false
	c.wake()
}

// writeSome writes the oldest replies with one call. Requires c.mu and
// c.mu.writing.
func (c *conn) writeSome() {
	first, n := c.mu.out, 0
	end := first
	for ; end != nil && n < maxGather; end = end.next {
		c.gather[n] = end.data
		n++
	}
	c.mu.out = end
	if c.mu.broken == nil {
		c.mu.Unlock()
		err := c.writeGathered(n)
		c.mu.Lock()
		if err != nil {
			c.mu.broken = err
			// The reader may be waiting for bytes that nobody will answer.
			c.nc.Close()
		}
	}
	for r := first; r != end; {
		next := r.next
		r.next = nil
		if r.req != nil {
			c.release(r.req)
		} else {
			r.busy = false
		}
		r = next
	}
	c.wake()
}

// writeGathered writes the first n of c.gather, all of each or an error.
func (c *conn) writeGathered(n int) error {
	defer clear(c.gather[:n])
	if n == 1 {
		_, err := c.nc.Write(c.gather[0])
		return err
	}
	c.vec = c.gather[:n]
	_, err := c.vec.WriteTo(c.nc)
	return err
}
