package mirror

import (
	"fmt"
	"io"
	"math/bits"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/seam"
	"holdfast.dev/holdfast/journal"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// legMask is a set of legs, one bit each.
type legMask uint32

func (m legMask) has(i int) bool { return m>>i&1 != 0 }
func (m legMask) len() int       { return bits.OnesCount32(uint32(m)) }
func (m legMask) first() int     { return bits.TrailingZeros32(uint32(m)) }

// legOp is what a fanout does on each leg.
type legOp uint8

const (
	opWrite   legOp = iota
	opScatter       // write parts of the data
	opDiscard
	opZero
	opUnguard // discard a part of the guard area
	opGuards  // write the staged blocks of the guard area
	opFlush   // the same, and to the journal, and flush
	opLog     // write changed log blocks and flush
	opRecord  // write both superblocks
	opRing    // write to the journal
	opHeader  // the same, and flush
)

// String names the operation in messages.
func (o legOp) String() string {
	return [...]string{"write", "write", "discard", "zero", "discard guards", "write guards", "flush", "write region log", "write superblocks",
		"write journal", "write journal header"}[o]
}

// point names the step of doing it on a leg: that of data apart from the others, which
// have steps of their own.
func (o legOp) point() string {
	if o <= opZero {
		return "mirror.leg"
	}
	return "mirror.other"
}

// fanout does one operation on several legs at once and waits for all of them.
// The caller takes one leg itself. Fanouts are kept and used again, with the
// functions that they start, so that a write allocates nothing.
type fanout struct {
	m  *Mirror
	op legOp
	p  []byte
	// off and n are within the data area, or the guard area.
	off, n int64
	// writes are those to the journal, parts those to the data area; both say where
	// they go on the leg.
	writes []journal.Write
	parts  []device.Part

	errs [MaxLegs]error
	run  [MaxLegs]func()

	mu      seam.Mutex
	done    *seam.Cond
	pending int // guarded by mu
}

func newFanout(m *Mirror) *fanout {
	f := &fanout{m: m}
	f.done = seam.NewCond(&f.mu)
	for i := range MaxLegs {
		f.run[i] = func() {
			f.errs[i] = f.do(i)
			f.mu.Lock()
			defer f.mu.Unlock()
			f.pending--
			if f.pending == 0 {
				f.done.Signal()
			}
		}
	}
	return f
}

// onLegs does op on the legs of a mask and returns those on which it succeeded
// and, if there are others, their errors on one line.
func (m *Mirror) onLegs(legs legMask, op legOp, p []byte, off, n int64) (ok legMask, err error) {
	f := m.fans.get()
	defer f.giveBack()
	f.op, f.p, f.off, f.n = op, p, off, n
	return f.on(legs)
}

// onLegsAt does the same with writes that say where they go on the leg.
func (m *Mirror) onLegsAt(legs legMask, op legOp, writes []journal.Write) (ok legMask, err error) {
	f := m.fans.get()
	defer f.giveBack()
	f.op, f.writes = op, writes
	return f.on(legs)
}

// scatter does the same with parts of the data.
func (m *Mirror) scatter(legs legMask, parts []device.Part) (ok legMask, err error) {
	f := m.fans.get()
	defer f.giveBack()
	f.op, f.parts = opScatter, parts
	return f.on(legs)
}

func (f *fanout) giveBack() {
	f.p, f.off, f.n, f.writes, f.parts = nil, 0, 0, nil, nil
	f.errs = [MaxLegs]error{}
	f.m.fans.put(f)
}

func (f *fanout) on(legs legMask) (ok legMask, err error) {
	m := f.m
	own := legs.first()
	if !m.manual {
		f.start(legs &^ (1 << own))
	}
	for i := own; i < MaxLegs; i++ {
		if legs.has(i) && (i == own || m.manual) {
			f.errs[i] = f.do(i)
		}
	}
	f.wait()
	for i := range MaxLegs {
		switch {
		case !legs.has(i):
		case f.errs[i] == nil:
			ok |= 1 << i
		case err == nil:
			err = f.errs[i]
		default:
			err = fmt.Errorf("%w; %w", err, f.errs[i])
		}
	}
	return ok, err
}

func (f *fanout) start(legs legMask) {
	f.pending = legs.len() // nobody else looks yet
	for i := range MaxLegs {
		if legs.has(i) {
			seam.Go("mirror.leg", f.run[i])
		}
	}
}

func (f *fanout) wait() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.pending > 0 {
		f.done.Wait()
	}
}

// do does the operation on one leg.
func (f *fanout) do(i int) error {
	l := f.m.leg(i)
	at := f.m.geo.DataOff() + f.off
	guards := f.m.geo.Areas[ondisk.AreaGuards]
	if f.op == opUnguard {
		at = guards.Off + f.off
	}
	seam.Point(f.op.point(), uint64(at))
	var err error
	switch f.op {
	case opWrite:
		err = writeFull(l, f.p, at)
	case opScatter:
		err = device.WriteScattered(l.dev, f.parts)
	case opDiscard:
		err = l.dev.Discard(at, f.n)
	case opZero:
		err = l.dev.WriteZeroes(at, f.n)
	case opUnguard:
		err = l.dev.Discard(at, f.n)
	case opGuards:
		err = f.m.flusher.staged.write(l, guards)
	case opFlush:
		if err = writeAll(l, f.writes); err == nil {
			err = f.m.flusher.staged.write(l, guards)
		}
		if err == nil {
			err = l.flush()
		}
	case opLog:
		err = f.m.log.write(l)
	case opRing:
		err = writeAll(l, f.writes)
	case opHeader:
		if err = writeAll(l, f.writes); err == nil {
			err = l.flush()
		}
	case opRecord:
		err = ondisk.WriteCopies(l.dev, l.flush, &l.sb, &l.worse, l.buf)
	}
	if err != nil {
		f.m.charge(l, &l.writeErrors, f.op.String(), at, f.n, err)
		return fmt.Errorf("leg %s: %w", l.name, err)
	}
	return nil
}

func writeAll(l *leg, writes []journal.Write) error {
	for _, w := range writes {
		seam.Point("mirror.ring", uint64(w.Off))
		if err := writeFull(l, w.P, w.Off); err != nil {
			return err
		}
	}
	return nil
}

func writeFull(l *leg, p []byte, at int64) error {
	n, err := l.dev.WriteAt(p, at)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return err
}
