package journal

import (
	"fmt"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/invariants"
)

// Transaction is some versions of blocks that become durable together.
//
// It is one task's at a time: filled by Add and AddZeros, numbered and sealed
// by Append, written by the caller, and given back by Wrote or Drop.
type Transaction struct {
	l    *layout
	d    descriptor
	buf  []byte
	room int // entries that the descriptor has room for
	used int // sectors, descriptor included
	// writes are its parts up to and from the end of the ring.
	writes [2]Write
}

// keptMost is how many transactions are kept for use again: more than are
// filled and written at once, and no more than 8 MiB.
const keptMost = 8

// Begin returns a transaction with room for n entries, or for as many as the
// journal allows. It is to be given to Append and then Wrote, or to Drop.
func (j *Journal) Begin(n int) *Transaction {
	n = min(max(n, 1), j.txnEntries)
	t := j.kept()
	t.d = descriptor{payload: descSectors(n)}
	t.room, t.used = n, t.d.payload
	if want := int(min(blocksFor(n, n*sectorsPerBlock), j.txnBlocks)) * BlockSize; len(t.buf) < want {
		t.buf = device.Aligned(want)
	}
	return t
}

func (j *Journal) kept() *Transaction {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := len(j.free)
	if n == 0 {
		return &Transaction{l: &j.layout}
	}
	t := j.free[n-1]
	j.free = j.free[:n-1]
	return t
}

// Drop gives back a transaction that was not appended.
func (j *Journal) Drop(t *Transaction) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.keep(t)
}

// keep requires j.mu.
func (j *Journal) keep(t *Transaction) {
	if len(j.free) < keptMost {
		j.free = append(j.free, t)
	}
}

// Add adds a version of a block: data is the sectors that e names, one after
// the other, and is copied. It returns false, and adds nothing, if there is no
// room: then the caller appends the transaction and begins another, which has
// room for one whole block at least. Of entries for the same sector the last
// counts.
func (t *Transaction) Add(e Entry, data []byte) bool {
	invariants.Check(len(data) == e.Sectors.Len()*sectorSize, "journal: %d bytes for sectors %#x", len(data), e.Sectors)
	at := t.used * sectorSize
	if !t.add(e, kindData, e.Sectors.Len()) {
		return false
	}
	copy(t.buf[at:], data)
	return true
}

// AddZeros does the same for sectors that are to be zeros.
func (t *Transaction) AddZeros(e Entry) bool { return t.add(e, kindZeros, 0) }

func (t *Transaction) add(e Entry, k kind, sectors int) bool {
	invariants.Check(e.Block < t.l.Blocks && e.Sectors != 0, "journal: sectors %#x of block %d", e.Sectors, e.Block)
	if t.d.entries == t.room || (t.used+sectors)*sectorSize > len(t.buf) {
		return false
	}
	encodeEntry(t.buf, t.d.entries, e, k)
	t.d.entries++
	t.used += sectors
	return true
}

// Seq is the transaction's number, from when it was appended until it is given
// back.
func (t *Transaction) Seq() uint64 { return t.d.seq }

// Writes are what is to be written to every leg, in any order, from when it was
// appended until it is given back.
func (t *Transaction) Writes() []Write {
	if len(t.writes[1].P) == 0 {
		return t.writes[:1]
	}
	return t.writes[:]
}

// blocks is how much of the ring it takes.
func (t *Transaction) blocks() uint64 {
	return uint64(t.used+sectorsPerBlock-1) / sectorsPerBlock
}

// seal completes the bytes of a transaction that has its place.
func (t *Transaction) seal() {
	b := t.buf[:t.d.blocks*BlockSize]
	clear(b[txnHeader+t.d.entries*entrySize : t.d.payload*sectorSize])
	clear(b[t.used*sectorSize:])
	t.d.encode(b)
	t.writes = t.l.split(t.d.pos, b)
	if invariants.Enabled {
		back, err := t.l.decodeHead(b, t.d.epoch)
		if err == nil {
			err = t.l.check(&back, b)
		}
		invariants.Check(err == nil && back == t.d, "journal: transaction %d reads as %+v: %v", t.d.seq, back, err)
	}
}

// Append gives a transaction its number and its place in the ring, after all
// that were appended before. It fails with ErrFull if a checkpoint has to make
// room first, and with ErrBroken; the transaction can then be appended later.
func (j *Journal) Append(t *Transaction) error {
	if t.d.entries == 0 {
		return fmt.Errorf("%w: a transaction without entries", ErrInvalid)
	}
	j.mu.Lock()
	err := j.place(t)
	j.mu.Unlock()
	if err != nil {
		return err
	}
	t.seal()
	return nil
}

// place requires j.mu.
func (j *Journal) place(t *Transaction) error {
	n := t.blocks()
	switch {
	case j.broken != nil:
		return j.brokenErr()
	case j.head.pos+n-j.tail.pos > j.ring || j.used+t.d.entries > j.entries:
		return fmt.Errorf("%w: %d of %d blocks and %d of %d entries are in use",
			ErrFull, j.head.pos-j.tail.pos, j.ring, j.used, j.entries)
	}
	t.d.place, t.d.blocks = j.head, n
	t.d.epoch, t.d.tail, t.d.durable = j.epoch, j.tail.pos, j.durable
	j.log = append(j.log, record{place: j.head, blocks: n, entries: t.d.entries})
	j.head.pos += n
	j.head.seq++
	j.used += t.d.entries
	j.flying++
	return nil
}
