package journal

import (
	"fmt"

	"holdfast.dev/holdfast/internal/invariants"
	"holdfast.dev/holdfast/internal/seam"
)

// Journal is a journal that is open: what is in the ring, and how far it is
// written and durable. It does no I/O.
type Journal struct {
	layout

	mu    seam.Mutex
	moved *seam.Cond // written or broken has changed
	// All below is guarded by mu.

	// headerSeq is the newest header that is durable on every leg, header the
	// one that is being written.
	headerSeq uint64
	header    *Header
	epoch     uint64
	// tail is the oldest transaction that the header durable on every leg needs;
	// nothing from there to head is overwritten. head is where the next one goes.
	tail, head place
	// written is the newest transaction of which, and of all before it, every
	// byte is on every leg; durable the newest that is flushed there as well.
	written, durable uint64
	// log has a record for each transaction from tail to head.
	log []record
	// used is how many entries they have.
	used int
	// flying is how many transactions were appended and not yet written.
	flying int
	index  index
	// broken is why transactions may be lost that were appended.
	broken   error
	appended uint64 // since it was opened
	free     []*Transaction
}

// record is a transaction between tail and head.
type record struct {
	place
	blocks  uint64
	entries int
	written bool
}

func newJournal(l layout) *Journal {
	j := &Journal{layout: l, index: newIndex()}
	j.moved = seam.NewCond(&j.mu)
	return j
}

// Wrote says what became of writing a transaction, and takes it back. A nil err
// says that all of it is on every leg in sync: from here on Find knows it.
// Otherwise it may be on any of them, and the journal is broken: the caller who
// would rather try again does so before he says so here.
func (j *Journal) Wrote(t *Transaction, err error) {
	seam.Point("journal.wrote", t.d.seq)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.flying--
	if err != nil {
		j.fail(fmt.Errorf("transaction %d could not be written: %w", t.d.seq, err))
	} else {
		j.appended++
		t.d.each(t.buf, j.index.put)
		j.log[t.d.seq-j.tail.seq].written = true
		j.advance()
	}
	j.keep(t)
}

// advance moves written past all that is written without a gap. Recovery reads
// no further than the first gap. Requires j.mu.
func (j *Journal) advance() {
	was := j.written
	for j.written+1 < j.head.seq && j.log[j.written+1-j.tail.seq].written {
		j.written++
	}
	if j.written != was {
		j.moved.Broadcast()
	}
}

// Await returns when a transaction and all before it are written, so that a
// flush which begins then makes it durable.
func (j *Journal) Await(seq uint64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.written < seq {
		if j.broken != nil {
			return j.brokenErr()
		}
		j.moved.Wait()
	}
	return nil
}

// Mark returns the newest transaction that a flush of the legs which begins
// now will cover.
func (j *Journal) Mark() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.written
}

// Durable says that a flush has succeeded on every leg in sync which began after
// Mark returned mark. The flush may be acknowledged if Durable returns nil. It
// fails while the journal is broken, even if the flush covers no transaction: a
// block written home since may be in one that could not be written, and would
// be overwritten by its replay.
func (j *Journal) Durable(mark uint64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	invariants.Check(mark <= j.written, "journal: flushed to %d, written to %d", mark, j.written)
	if j.broken != nil {
		return j.brokenErr()
	}
	j.durable = max(j.durable, mark)
	return nil
}

// Break says that a flush failed on every leg, so that transactions which were
// written may be lost although a later flush succeeds.
func (j *Journal) Break(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.fail(err)
}

// fail requires j.mu.
func (j *Journal) fail(err error) {
	if j.broken == nil {
		j.broken = err
	}
	j.moved.Broadcast()
}

// brokenErr requires j.mu.
func (j *Journal) brokenErr() error { return fmt.Errorf("%w: %w", ErrBroken, j.broken) }

// Status is what the journal holds.
type Status struct {
	Ring, Used   int64  // bytes
	Room, Taken  int    // entries that the ring takes, and has
	Blocks       int    // of the pool, whose newest version may be in the ring only
	Transactions uint64 // written since the journal was opened
	Broken       error
}

// Status tells what the journal holds.
func (j *Journal) Status() Status {
	j.mu.Lock()
	defer j.mu.Unlock()
	return Status{
		Ring:         int64(j.ring) * BlockSize,
		Used:         int64(j.head.pos-j.tail.pos) * BlockSize,
		Room:         j.entries,
		Taken:        j.used,
		Blocks:       len(j.index.blocks),
		Transactions: j.appended,
		Broken:       j.broken,
	}
}
