package journal

import (
	"errors"
	"fmt"

	"holdfast.dev/holdfast/device"
)

// lookPast is how many times the length of the longest transaction is searched
// beyond the end of the chain for proof that it should go on: as much as may be
// in flight at once.
const lookPast = 4

// Recovery is what the legs together hold of a journal.
type Recovery struct {
	// Transactions is how many were found, Blocks how many blocks replay writes.
	Transactions, Blocks int
	// Lost says, if it is not nil, that a transaction which was durable can be
	// read from no leg, or may have been. Replay goes on after it, where that is
	// known to be right.
	Lost error
	// Faults holds, for each leg, the first fault found in what it must have: a
	// read that failed, or a transaction that another leg has and that was
	// durable.
	Faults []error

	layout
	legs  []*reader
	best  header
	known uint64 // the newest transaction known to be durable
	end   place
	index index
}

// Scan reads the journal of legs that were in sync, which all have been given
// the same transactions. It writes nothing. It fails if no leg has a header.
func Scan(c Config, legs []device.Device) (*Recovery, error) {
	l, err := newLayout(c)
	if err != nil {
		return nil, err
	}
	r := &Recovery{layout: l, index: newIndex(), Faults: make([]error, len(legs))}
	var unread error
	whole := false
	for i, d := range legs {
		r.legs = append(r.legs, newReader(&r.layout, d))
		fault, bad := r.readHeaders(i)
		err, unread = errors.Join(err, bad), errors.Join(unread, fault)
		whole = whole || fault == nil
	}
	if r.best.seq == 0 {
		return nil, fmt.Errorf("no leg has a header of the journal: %w", err)
	}
	if !whole {
		// The newest that was durable may be where none could be read.
		r.lose("which header is the newest cannot be read: %v", unread)
	}
	tail := r.best.tail.pos
	r.end = r.walk(func(d *descriptor, b []byte) error {
		tail = max(tail, d.tail)
		d.each(b, r.index.put)
		return nil
	})
	// What was released is not replayed: it may have been written home since.
	r.index.forget(tail)
	r.Blocks = len(r.index.blocks)
	return r, nil
}

// readHeaders takes a leg's newest header, if it is the newest of all. unread is
// why a slot could not be read, err that or what is wrong with one.
func (r *Recovery) readHeaders(i int) (unread, err error) {
	b := device.Aligned(BlockSize)
	found := false
	for slot := range headerBlocks {
		_, fault := r.legs[i].dev.ReadAt(b, r.slotOff(uint64(slot)))
		if fault != nil {
			r.fault(i, fault)
			unread, err = fault, errors.Join(err, fault)
			continue
		}
		h, fault := decodeHeader(b, r.Pool, slot)
		if fault != nil {
			err = errors.Join(err, fault)
			continue
		}
		found = true
		if h.seq > r.best.seq {
			r.best = h
		}
	}
	if !found {
		r.fault(i, err)
	}
	return unread, err
}

func (r *Recovery) fault(leg int, err error) {
	if r.Faults[leg] == nil {
		r.Faults[leg] = err
	}
}

// walk visits the transactions from the tail on, in order, each from a leg where
// it is sound, and returns where the next one would be. It stops at an error of
// visit's, which visit keeps.
//
// The chain ends at the first transaction that is sound on no leg. What was
// durable then is known from the header and from what transactions say: if the
// chain should go on, something was lost.
func (r *Recovery) walk(visit func(d *descriptor, b []byte) error) place {
	at, known, entries := r.best.tail, r.best.durable, 0
	r.Transactions = 0
	var first []missing
	for {
		d, b := r.sound(at, &first)
		if d == nil {
			if d, b = r.resume(at); d == nil {
				break
			}
		}
		entries += d.entries
		if entries > r.entries {
			r.lose("%d entries to transaction %d, and the ring takes %d", entries, d.seq, r.entries)
			break
		}
		if visit(d, b) != nil {
			break
		}
		r.Transactions++
		known = max(known, d.durable)
		at = place{d.pos + d.blocks, d.seq + 1}
	}
	if known >= at.seq {
		r.lose("transactions to %d were durable, and %d is on no leg", known, at.seq)
	}
	for _, m := range first {
		if m.seq <= known && m.seq < at.seq {
			r.fault(m.leg, m.err)
		}
	}
	r.known = known
	return at
}

func (r *Recovery) lose(format string, args ...any) {
	if r.Lost == nil {
		r.Lost = fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
	}
}

// missing is a transaction that a leg has not, though others may.
type missing struct {
	leg int
	seq uint64
	err error
}

// sound returns the transaction that belongs at a place, from the first leg
// where it is sound, or nil. Its bytes are good until the next call.
func (r *Recovery) sound(at place, first *[]missing) (*descriptor, []byte) {
	var unread error
	silent := 0
	for i, leg := range r.legs {
		d, b, err := leg.transaction(at.pos, r.best.epoch)
		if err == nil && d.place != at {
			err = fmt.Errorf("%w: transaction %d of %d is where %d belongs", ErrDamaged, d.seq, d.pos, at.seq)
		}
		if err == nil {
			return d, b
		}
		*first = noteFirst(*first, missing{i, at.seq, err})
		if !errors.Is(err, ErrDamaged) {
			r.fault(i, err)
			unread = err
			silent++
		}
	}
	// What was acknowledged is on every leg: one that can be read answers for all.
	if silent == len(r.legs) {
		r.lose("whether there is a transaction %d cannot be read: %v", at.seq, unread)
	}
	return nil, nil
}

// noteFirst keeps the first of each leg.
func noteFirst(all []missing, m missing) []missing {
	for _, o := range all {
		if o.leg == m.leg {
			return all
		}
	}
	return append(all, m)
}

// resume looks for a later transaction that says that the one at a place was
// durable. If there is one, it returns the first that is sound after the place.
// One of a later lap proves that the header is not the newest that was durable:
// then nothing can be said of what lies between.
func (r *Recovery) resume(at place) (*descriptor, []byte) {
	var next place
	leg := -1
	proven := false
	past := min(at.pos+lookPast*r.txnBlocks, r.best.tail.pos+r.ring)
	for pos := at.pos; pos < past; pos++ {
		for i := range r.legs {
			d, _, err := r.legs[i].transaction(pos, r.best.epoch)
			if err != nil || d.seq <= at.seq || d.pos < pos || (d.pos-pos)%r.ring != 0 {
				continue
			}
			if d.pos != pos {
				r.lose("transaction %d is where %d belongs: the header is out of date", d.seq, at.seq)
				return nil, nil
			}
			if leg < 0 {
				leg, next = i, d.place
			}
			proven = proven || d.durable >= at.seq
		}
	}
	if !proven {
		return nil, nil
	}
	r.lose("transaction %d was durable and is on no leg", at.seq)
	d, b, err := r.legs[leg].transaction(next.pos, r.best.epoch)
	if err != nil {
		return nil, nil
	}
	return d, b
}
