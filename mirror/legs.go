package mirror

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/google/uuid"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/invariants"
	"holdfast.dev/holdfast/internal/seam"
)

// leg is one copy of the pool.
type leg struct {
	name string
	uuid uuid.UUID
	dev  device.Device // nil if it was not given
	// Reads and writes that failed since the pool was opened.
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
	sb    superblock
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

// charge counts an error of the leg under its kind.
func (l *leg) charge(kind *atomic.Uint64, err error) {
	kind.Add(1)
	if errors.Is(err, device.ErrTimeout) {
		l.timeouts.Add(1)
	}
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

// members is the pool's view of its legs.
//
// word holds, in its low bits, which legs are in sync and, in unrecorded,
// whether that is not yet durable in the superblocks. A write or flush is
// acknowledged only when the legs it succeeded on include all that are in sync
// and the record is durable: otherwise a leg that missed it could come back
// alone, or as the newest (H10).
type members struct {
	word atomic.Uint32

	mu seam.Mutex
	// All below is guarded by mu.

	view  []member
	state poolState
	// generation also is readable without mu.
	generation atomic.Uint64
}

const unrecorded = 1 << 31

// inSync returns the legs in sync.
func (m *Mirror) inSync() legMask { return legMask(m.members.word.Load() &^ unrecorded) }

// full says whether every leg of the pool is in sync.
func (m *Mirror) full() bool { return m.inSync() == 1<<len(m.legs)-1 }

// settle decides what became of an operation that was tried on the legs that
// were in sync when it began and succeeded on those in ok; err is an error of
// one of the others. Legs that missed it are failed, durably, before settle
// returns nil. If no leg that is in sync has it, none is failed: the last leg
// is never given up, and an error that all legs share says nothing about one.
func (m *Mirror) settle(ok legMask, err error) error {
	word := m.members.word.Load()
	if word&unrecorded == 0 && legMask(word)&^ok == 0 {
		return nil
	}
	ms := &m.members
	ms.mu.Lock()
	defer ms.mu.Unlock()
	in := m.inSync()
	if in&ok == 0 {
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
	if in = m.inSync(); in&ok == 0 {
		return fmt.Errorf("%w: the legs that took it have failed since", device.ErrIO)
	}
	if in&^ok == 0 {
		return nil
	}
	m.fail(in&^ok, err)
	return m.record()
}

// fail takes legs out of the set in sync. Requires members.mu, and that others
// remain.
func (m *Mirror) fail(legs legMask, cause error) {
	in := m.inSync()
	invariants.Check(in&^legs != 0, "mirror: the last leg was failed")
	for i, l := range m.legs {
		if legs.has(i) {
			m.members.view[i].state = Failed
			m.slog.Error("leg failed: it is left alone, and what it misses is remembered",
				"leg", l.name, "uuid", l.uuid, "legs_left", (in &^ legs).len(), "error", cause)
		}
	}
	m.members.generation.Add(1)
	m.members.word.Store(uint32(in&^legs) | unrecorded)
}

// setState changes the pool's state, durably.
func (m *Mirror) setState(s poolState) error {
	m.members.mu.Lock()
	defer m.members.mu.Unlock()
	if err := m.record(); err != nil {
		return err
	}
	m.members.state = s
	m.members.generation.Add(1)
	m.members.word.Store(uint32(m.inSync()) | unrecorded)
	return m.record()
}

// record makes the pool's view durable on every leg in sync, if it is not yet.
// Legs that cannot take it are failed, unless none can: then the view stays
// unrecorded and the next operation tries again. Requires members.mu.
func (m *Mirror) record() error {
	ms := &m.members
	for ms.word.Load()&unrecorded != 0 {
		in := m.inSync()
		for i, l := range m.legs {
			if in.has(i) {
				l.sb.members = append(l.sb.members[:0], ms.view...)
				l.sb.state = ms.state
				l.sb.generation = ms.generation.Load()
			}
		}
		ok, err := m.onLegs(in, opRecord, nil, 0, 0)
		switch ok {
		case 0:
			m.lostFlush(err)
			return fmt.Errorf("superblocks cannot be written: %w", err)
		case in:
			ms.word.Store(uint32(in))
		default:
			m.fail(in&^ok, err)
		}
	}
	return nil
}
