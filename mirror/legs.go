package mirror

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/google/uuid"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/eventlog"
	"holdfast.dev/holdfast/internal/invariants"
	"holdfast.dev/holdfast/internal/seam"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// leg is one copy of the pool.
type leg struct {
	name string
	uuid uuid.UUID
	dev  device.Device // absent{} if there is none
	// Reads and writes that failed since this was last cleared.
	readErrors, writeErrors atomic.Uint64
	// timeouts is how many of these failed for want of an answer.
	timeouts atomic.Uint64
	// guardErrors are blocks that held something else than was written there.
	guardErrors atomic.Uint64
	faults      faults
	// reading is how many reads are in flight.
	reading atomic.Int32

	// sb is the superblock last given to the leg, worse the copy of it to be
	// written first, buf a block to write from. Guarded by members.mu.
	sb    ondisk.Superblock
	worse int
	buf   []byte

	// lost is the error of the newest failed flush, kept until lostFlush has
	// seen to it: a flush that succeeds meanwhile must not hide it.
	// Guarded by flushMu, which is held while the device flushes.
	flushMu seam.Mutex
	lost    error

	// seq is the newest sequence number of each log block on this leg, logBuf
	// a block to write from. Whoever commits the log owns them.
	seq    []uint64
	logBuf []byte
}

// flush flushes the device. All flushes of a leg come through here.
func (l *leg) flush() error {
	l.flushMu.Lock()
	defer l.flushMu.Unlock()
	if err := l.dev.Flush(); err != nil {
		l.lost = err
	}
	return l.lost
}

// legs returns the legs by index. The slice and what a leg is never change:
// a leg that comes or goes is a new slice.
func (m *Mirror) legs() []*leg { return *m.legTable.Load() }

func (m *Mirror) leg(i int) *leg { return m.legs()[i] }

// members is the pool's view of its legs.
//
// word holds the roll, and in unrecorded whether that is not yet durable in
// the superblocks. A write or flush is acknowledged only when the legs it
// succeeded on include all that are in sync and the record is durable:
// otherwise a leg that missed it could come back alone, or as the newest (H10).
type members struct {
	word atomic.Uint32

	mu seam.Mutex
	// All below is guarded by mu.

	view  []ondisk.Member
	state ondisk.PoolState
	// unsettled is what the superblocks say of it.
	unsettled bool
	// generation also is readable without mu.
	generation atomic.Uint64
	// absent are the legs that the view lists and that are not worked with;
	// opening gives them up in its first change.
	absent legMask
	// promoted are the legs put in sync by a change that is not recorded.
	promoted legMask
	// closed holds, for each leg whose superblock may say that the pool was
	// closed, the legs that it lists as in sync.
	closed [MaxLegs]legMask
	// used is the newest generation in which data may have been written.
	used uint64
}

const unrecorded = 1 << 31

// settle decides what became of an operation that was tried on the legs that
// were in sync or joining when it began and succeeded on those in ok; err is an
// error of one of the others. Legs that missed it are failed, durably, before
// settle returns nil. If no leg that is in sync has it, none is failed: the last
// leg is never given up, and an error that all legs share says nothing about one.
func (m *Mirror) settle(ok legMask, err error) error {
	word := m.members.word.Load()
	if r := rollOf(word); word&unrecorded == 0 && r.targets()&^ok == 0 {
		return nil
	}
	ms := &m.members
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if m.inSync()&ok == 0 {
		if err == nil {
			err = fmt.Errorf("%w: the legs that took it have failed since", device.ErrIO)
		}
		return err
	}
	// A change that could not be written down yet comes first: generations of
	// legs in sync must never be more than one apart.
	if err := m.record(); err != nil {
		return err
	}
	r := m.roll()
	if r.in&ok == 0 {
		return fmt.Errorf("%w: the legs that took it have failed since", device.ErrIO)
	}
	if r.targets()&^ok == 0 {
		return nil
	}
	m.fail(r.targets()&^ok, err)
	return m.record()
}

// fail takes legs out of those in sync or joining. Requires members.mu, and
// that others remain in sync.
func (m *Mirror) fail(legs legMask, cause error) {
	in := m.inSync()
	invariants.Check(in&^legs != 0, "mirror: the last leg was failed")
	for i, l := range m.legs() {
		if legs.has(i) {
			m.mark(i, Failed)
			m.slog.Error("leg failed: it is left alone, and what it misses is remembered",
				eventlog.Key, eventlog.LegFailed, "leg", l.name, "uuid", l.uuid, "legs_left", (in &^ legs).len(), "error", cause)
		} else if m.members.absent.has(i) && m.members.view[i].State != Removed {
			// Opening gives it up, and this is its first change: what lists it as
			// in sync may be one generation ahead of it, never two.
			m.mark(i, Failed)
		}
	}
	m.changed()
}

// mark gives a member a state as of the next generation. Requires members.mu,
// and that changed is called after.
func (m *Mirror) mark(i int, s MemberState) {
	v := &m.members.view[i]
	v.State, v.Since = s, m.members.generation.Load()+1
}

// changed makes what was done to the view a change of its own. Requires
// members.mu.
func (m *Mirror) changed() {
	ms := &m.members
	generation := ms.generation.Add(1)
	if ms.state != ondisk.PoolOpening {
		ms.used = generation
	}
	ms.word.Store(rollCall(ms.view, ms.absent).word() | unrecorded)
}

// change makes a change to the view and records it. edit may refuse; it runs
// with members.mu held, when everything before it is recorded.
func (m *Mirror) change(edit func(ms *members) error) error {
	ms := &m.members
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if err := m.record(); err != nil {
		return err
	}
	if err := edit(ms); err != nil {
		return err
	}
	m.changed()
	return m.record()
}

// setState changes the pool's state, durably.
func (m *Mirror) setState(s ondisk.PoolState) error {
	return m.change(func(ms *members) error {
		ms.state = s
		return nil
	})
}

// record makes the pool's view durable on every leg in sync or joining, if it
// is not yet. Legs that cannot take it are failed, unless none in sync can: then
// the view stays unrecorded and the next operation tries again. Requires
// members.mu.
func (m *Mirror) record() error {
	ms := &m.members
	for ms.word.Load()&unrecorded != 0 {
		for i, l := range m.legs() {
			if m.roll().targets().has(i) {
				l.sb.Members = append(l.sb.Members[:0], ms.view...)
				l.sb.State, l.sb.Unsettled = ms.state, ms.unsettled
				l.sb.Used = ms.used
				l.sb.Generation = ms.generation.Load()
			}
		}
		missed, err := m.recordInTurn()
		switch {
		case err != nil && missed == 0:
			m.lostFlush(err)
			return fmt.Errorf("superblocks cannot be written: %w", err)
		case missed == 0:
			ms.promoted = 0
			ms.word.Store(ms.word.Load() &^ unrecorded)
		default:
			if err := m.mayFail(missed, err); err != nil {
				return err
			}
			if ms.state == ondisk.PoolClean {
				// Only a record that all have may say that none is needed.
				ms.state = ondisk.PoolOpen
			}
			m.fail(missed, err)
		}
	}
	return nil
}

// recordInTurn writes the superblocks of the legs that were in sync before the
// change, and when these are durable those of the others: so a leg that knows of
// a change is never the only one, and one that counts is never two behind. It
// returns the legs that missed it and why; if all that were in sync did, none and
// an error. Requires members.mu.
func (m *Mirror) recordInTurn() (missed legMask, err error) {
	r := m.roll()
	late := r.joining | r.in&m.members.promoted
	first := r.targets() &^ late
	ok, err := m.onLegs(first, opRecord, nil, 0, 0)
	if ok == 0 && first != 0 {
		return 0, err
	}
	okLate, errLate := m.onLegs(late, opRecord, nil, 0, 0)
	return r.targets() &^ (ok | okLate), errors.Join(err, errLate)
}
