package journal

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Replayed is sectors of a block that are to be written home, on every leg.
type Replayed struct {
	Block   uint64
	Sectors Sectors
	// Tuple is the guard of the whole block when all of it was replayed.
	Tuple Tuple
	// Data is the sectors, one after the other, good until the function that was
	// given it returns; nil for zeros.
	Data []byte
}

// Level calls write for what is to be on every leg before anything is written
// home: the newest header of any, and all transactions that are not known to be
// durable. When that is flushed each leg alone leads to the same end, also if
// it is the only one that comes back from a crash in the midst of Replay; and
// the header that Open returns overwrites none that is needed.
func (r *Recovery) Level(write func(Write) error) error {
	err := write(r.best.write(&r.layout))
	if err != nil {
		return err
	}
	return r.again(func(d *descriptor, b []byte) error {
		if d.seq <= r.known {
			return nil
		}
		w := r.split(d.pos, b)
		if err := write(w[0]); err != nil || len(w[1].P) == 0 {
			return err
		}
		return write(w[1])
	})
}

// Find calls do for every block that Replay will write, ascending.
func (r *Recovery) Find(do func(block uint64)) {
	for _, b := range slices.Sorted(maps.Keys(r.index.blocks)) {
		do(b)
	}
}

// Replay calls do for the newest version of every sector that the ring holds,
// and stops at do's first error. What Level wrote must be durable. It
// may be cut off, and run again after a Scan of whatever is left.
func (r *Recovery) Replay(do func(Replayed) error) error {
	data := make([]byte, 0, BlockSize)
	return r.again(func(d *descriptor, b []byte) (err error) {
		d.each(b, func(e Entry, k kind, at uint64, payload []byte) {
			left, tuple := r.index.newest(e, k, at)
			if left == 0 || err != nil {
				return
			}
			v := Replayed{Block: e.Block, Sectors: left, Tuple: tuple}
			if k == kindData {
				v.Data = pick(data, payload, e.Sectors, left)
			}
			err = do(v)
		})
		return err
	})
}

// again visits what Scan has found, until visit fails.
func (r *Recovery) again(visit func(d *descriptor, b []byte) error) (err error) {
	end := r.walk(func(d *descriptor, b []byte) error {
		err = visit(d, b)
		return err
	})
	if err == nil && end != r.end {
		err = fmt.Errorf("%w: it was read to transaction %d, and then to %d", ErrDamaged, r.end.seq, end.seq)
	}
	return err
}

// pick returns those sectors of an entry's payload that are left.
func pick(to, payload []byte, all, left Sectors) []byte {
	if all == left {
		return payload
	}
	for s := range sectorsPerBlock {
		bit := Sectors(1) << s
		if all&bit == 0 {
			continue
		}
		if left&bit != 0 {
			to = append(to, payload[:sectorSize]...)
		}
		payload = payload[sectorSize:]
	}
	return to
}

// Open returns the journal with an empty ring, and the header that makes it so.
// What was replayed must be durable on every leg in sync, and nothing else
// written home since the crash. Until the header has landed the journal counts
// as broken.
func (r *Recovery) Open() (*Journal, *Header) {
	j := newJournal(r.layout)
	j.headerSeq, j.epoch = r.best.seq, newEpoch()
	// Positions and numbers begin anew: what the ring has of another epoch is
	// not taken for this one's.
	j.tail = place{seq: 1}
	j.head = j.tail
	j.broken = errOpening
	h := header{seq: j.headerSeq + 1, epoch: j.epoch, tail: j.tail}
	j.header = &Header{Write: h.write(&j.layout), h: h, drain: true}
	return j, j.header
}

var errOpening = errors.New("its header is not written yet")
