package journal

import (
	"fmt"
	"slices"

	"holdfast.dev/holdfast/internal/seam"
)

// Checkpoint is blocks that are to be written home, so that the oldest part of
// the ring is needed no more.
type Checkpoint struct {
	// Home are the blocks, ascending. A block that has been written again in what
	// stays in the ring is not among them.
	Home []Version

	// Need is the newest transaction that it relies on: of a block written
	// again nothing older goes home, so what is newer has to be durable. The caller
	// awaits it before the flush that follows the writes.
	Need uint64

	from, to place // what of the ring it is for
	drain    bool
}

// Empty says that it can free nothing: what the ring holds has to be flushed
// first.
func (c *Checkpoint) Empty() bool { return c.from == c.to }

// Checkpoint returns what is to be written home to free at least n bytes of
// the ring, or as much as can be: only what is durable goes home, so that a
// crash meanwhile leaves nothing that replay does not overwrite on every leg.
func (j *Journal) Checkpoint(n int64) *Checkpoint {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := &Checkpoint{from: j.tail, to: j.tail, Need: j.newestWritten()}
	flushed := j.tail // where what is not durable begins
	for _, r := range j.log {
		if r.seq > j.durable {
			break
		}
		flushed = place{r.pos + r.blocks, r.seq + 1}
		if int64(c.to.pos-c.from.pos)*BlockSize < n {
			c.to = flushed
		}
	}
	c.to = j.unmixed(c.to, flushed)
	c.Home = j.index.before(c.to.pos)
	return c
}

// unmixed returns the last place up to which a checkpoint can go: a block goes
// home whole, with the tuple that fits, and so only if all that the ring has of
// it is durable. Requires j.mu.
func (j *Journal) unmixed(to, flushed place) place {
	if j.durable+1 == j.head.seq {
		return to
	}
	limit := to.pos * sectorsPerBlock
	for _, h := range j.index.blocks {
		if h.newest >= flushed.pos*sectorsPerBlock {
			limit = min(limit, h.oldest())
		}
	}
	for _, r := range j.log {
		if (r.pos+r.blocks)*sectorsPerBlock > limit {
			return r.place
		}
	}
	return to
}

// newestWritten returns the newest transaction that is in the index. Requires
// j.mu.
func (j *Journal) newestWritten() uint64 {
	for i := len(j.log) - 1; i >= 0; i-- {
		if j.log[i].written {
			return j.log[i].seq
		}
	}
	return j.tail.seq - 1
}

// Drain returns all that the ring holds, durable or not, as what is to be
// written home to empty it and to mend a broken journal. Since some of it may
// not be durable, a crash can leave its homes different on each leg; the caller
// sees to that as for any other write. Nothing may be under way.
func (j *Journal) Drain() (*Checkpoint, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.flying > 0 {
		return nil, fmt.Errorf("%w: %d transactions are being written", ErrEarly, j.flying)
	}
	return &Checkpoint{from: j.tail, to: j.head, drain: true, Home: j.index.before(j.head.pos)}, nil
}

// before returns what is held of blocks that have something before a position
// of the ring.
func (x *index) before(pos uint64) []Version {
	var home []Version
	for b, h := range x.blocks {
		if h.oldest() < pos*sectorsPerBlock {
			home = append(home, h.version(b))
		}
	}
	slices.SortFunc(home, byBlock)
	return home
}

// Header is a header that is to be written to every leg and flushed there, and
// then given to Landed.
type Header struct {
	Write
	h     header
	drain bool
}

// Release returns the header that frees what a checkpoint is for. Its blocks
// must have been written home and flushed on every leg in sync. It fails with
// ErrEarly if what overwrote others in the ring is not durable: then the caller
// flushes and tries again; or if another checkpoint has come between, or for
// Drain another transaction: then the caller begins anew.
func (j *Journal) Release(c *Checkpoint) (*Header, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case c.from != j.tail || j.header != nil:
		return nil, fmt.Errorf("%w: another checkpoint has come between", ErrEarly)
	case c.drain && c.to != j.head:
		return nil, fmt.Errorf("%w: transactions were appended since %d", ErrEarly, c.to.seq)
	case j.durable < c.Need:
		return nil, fmt.Errorf("%w: transactions to %d are durable, and it takes %d", ErrEarly, j.durable, c.Need)
	}
	h := header{seq: j.headerSeq + 1, epoch: j.epoch, tail: c.to, durable: j.durable}
	j.header = &Header{Write: h.write(&j.layout), h: h, drain: c.drain}
	return j.header, nil
}

// Landed says what became of a header: with a nil err it is durable on every
// leg in sync, and what it frees may be overwritten from here on. Otherwise it
// may be on any of them, and the next goes to the same slot.
func (j *Journal) Landed(h *Header, err error) {
	seam.Point("journal.landed", h.h.seq)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.header = nil
	if err != nil {
		return
	}
	j.headerSeq = h.h.seq
	n := int(h.h.tail.seq - j.tail.seq)
	for _, r := range j.log[:n] {
		j.used -= r.entries
	}
	j.log = slices.Delete(j.log, 0, n)
	j.tail = h.h.tail
	j.index.forget(j.tail.pos)
	if h.drain {
		j.drained()
	}
}

// drained notes that no gap is left before the tail, and, if the ring is empty,
// nothing that could be lost. Requires j.mu.
func (j *Journal) drained() {
	j.written = max(j.written, j.tail.seq-1)
	if j.head == j.tail {
		j.broken = nil
	}
}
