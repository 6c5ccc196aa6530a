package mirror

import (
	"fmt"
	"math"
	"slices"

	"github.com/google/uuid"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/eventlog"
	"holdfast.dev/holdfast/internal/mutant"
	"holdfast.dev/holdfast/internal/rangelock"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// A leg joins in two steps: it is checked and prepared while the pool works on,
// and let in while nothing is in flight, so that no write that it missed is
// taken for one that it has.

// Attach brings a failed leg back: it is given what it misses and no more, and
// is then in sync. The leg is known by its superblock; without a device, the one
// that was set aside is meant by its name. A leg that went on without the others
// is refused unless forced: then what it holds and they do not is lost.
//
// If there is no error the device belongs to the Mirror.
func (m *Mirror) Attach(given Leg, force bool) error {
	return m.joining("attach", func() error {
		i, own, err := m.returning(&given)
		if err != nil {
			return err
		}
		f, err := m.checkReturning(i, given, force)
		if err != nil {
			return err
		}
		l := f.leg()
		return m.letIn("attach", i, l, m.wroteAlone(l, force), own)
	})
}

// wroteAlone returns the regions that a returning leg may have written without the
// others, which its own log alone knows: none, unless it is forced. What it missed is
// known, for no bit was cleared since it failed. The log is read in any case, for its
// sequence numbers.
func (m *Mirror) wroteAlone(l *leg, force bool) []uint64 {
	bits := make([]uint64, len(m.regions.want))
	l.readLog(&m.geo, bits)
	if !force {
		clear(bits)
	}
	if mutant.On(mutant.RegionLogIgnored) {
		m.regions.setAll(bits)
	}
	return bits
}

// Add makes a device a further leg of the pool, which is then filled.
func (m *Mirror) Add(given Leg) error {
	return m.joining("add", func() error {
		i, err := m.vacancy()
		if err != nil {
			return err
		}
		return m.fill("add", i, given, uuid.Nil, false)
	})
}

// Replace puts another device, or the same one anew, in the place of a failed
// leg, and fills it. Without a device it is the one that was set aside. Nothing
// that the device held counts any more.
func (m *Mirror) Replace(name string, given Leg) error {
	return m.joining("replace", func() error {
		i, v, err := m.find(name)
		if err != nil {
			return err
		}
		if v.State != Failed {
			return fmt.Errorf("%w: leg %s is %s, and only one that has failed is replaced: add the other, and remove this when that is in sync; or fail this first",
				ErrWrongState, m.leg(i).name, v.State)
		}
		own := given.Dev == nil
		if own {
			if given, err = m.setAside(i); err != nil {
				return err
			}
		}
		return m.fill("replace", i, given, v.Leg, own)
	})
}

// joining runs f alone: no round clears a bit and nothing is resynced meanwhile.
func (m *Mirror) joining(op string, f func() error) error {
	m.cycle.mu.Lock()
	defer m.cycle.mu.Unlock()
	m.resync.mu.Lock()
	defer m.resync.mu.Unlock()
	if m.closed.Load() {
		return m.closedErr(op)
	}
	if err := f(); err != nil {
		return m.opError(op, 0, 0, err)
	}
	m.resync.bell.Ring()
	return nil
}

// returning finds the member that a leg is, and gives it the device that was set
// aside if it comes without.
func (m *Mirror) returning(given *Leg) (i int, own bool, err error) {
	if given.Dev != nil {
		c := ondisk.ReadCopies(given.Dev)
		sb := c.Best()
		if sb == nil {
			return 0, false, fmt.Errorf("%s: %w", given.Name, c.Err())
		}
		i, _, err = m.find(sb.Leg.String())
		if err != nil || sb.Pool != m.pool {
			return 0, false, fmt.Errorf("%w: %s is leg %s of pool %s: add it, or replace a leg with it, if what it holds is not needed",
				ErrForeign, given.Name, sb.Leg, sb.Pool)
		}
		return i, false, nil
	}
	i, _, err = m.find(given.Name)
	if err != nil {
		return 0, false, err
	}
	*given, err = m.setAside(i)
	return i, true, err
}

// setAside returns the device that a failed leg had, if it is still open.
func (m *Mirror) setAside(i int) (Leg, error) {
	l := m.leg(i)
	if l.isAbsent() {
		return Leg{}, fmt.Errorf("%w: leg %s has no device here: give it", ErrMissing, l.name)
	}
	return Leg{l.name, l.dev}, nil
}

// checkReturning says whether a leg may come back.
func (m *Mirror) checkReturning(i int, given Leg, force bool) (*found, error) {
	f := &found{Leg: given, copies: ondisk.ReadCopies(given.Dev)}
	if f.sb = f.copies.Best(); f.sb == nil {
		return nil, fmt.Errorf("%s: %w", given.Name, f.copies.Err())
	}
	top := m.superblock()
	switch {
	case top.Members[i].State != Failed:
		return nil, fmt.Errorf("%w: leg %s is %s", ErrWrongState, given.Name, top.Members[i].State)
	case f.sb.Index != i || !top.Lists(f.sb) || f.sb.Pool != m.pool:
		return nil, fmt.Errorf("%w: %s holds leg %s of pool %s", ErrForeign, given.Name, f.sb.Leg, f.sb.Pool)
	case f.sb.Geometry != m.geo:
		return nil, fmt.Errorf("%w: %s disagrees about sizes and places", ErrCorrupt, given.Name)
	case f.sb.UnknownROCompat() != 0:
		return nil, fmt.Errorf("%w: %s has features %#x: use a newer program", ErrUnsupported, given.Name, f.sb.UnknownROCompat())
	case f.wentOn(&top) && !force:
		return nil, &ChoiceError{fmt.Errorf("%w: %s may hold writes that the pool lacks, and attaching it loses them", ErrDiverged, given.Name),
			[]string{f.sb.Leg.String()}}
	}
	return f, f.tooSmall()
}

// superblock returns what the legs in sync are to say, as one of them would.
func (m *Mirror) superblock() ondisk.Superblock {
	ms := &m.members
	ms.mu.Lock()
	defer ms.mu.Unlock()
	sb := m.leg(m.inSync().first()).sb
	sb.Members = slices.Clone(ms.view)
	sb.State, sb.Unsettled = ms.state, ms.unsettled
	sb.Generation = ms.generation.Load()
	return sb
}

// LegSize is the size in bytes that a further leg must have.
func (m *Mirror) LegSize() int64 { return m.geo.LegSize() }

// vacancy returns the index that a further leg gets.
func (m *Mirror) vacancy() (int, error) {
	view := m.superblock().Members
	i := slices.IndexFunc(view, func(v ondisk.Member) bool { return v.State == Removed })
	if i < 0 {
		i = len(view)
	}
	if i == MaxLegs {
		return 0, fmt.Errorf("%w: the pool has %d, and can have no more: remove one first", ErrTooMany, MaxLegs)
	}
	return i, nil
}

// fill makes a leg of a device that held none, or only the leg old, and lets it
// in as one that may lack all that there is.
func (m *Mirror) fill(op string, i int, given Leg, old uuid.UUID, own bool) error {
	if need := m.geo.LegSize(); given.Dev.Size() < need {
		return fmt.Errorf("%w: %s is %d bytes, and a leg of this pool takes %d", ErrTooSmall, given.Name, given.Dev.Size(), need)
	}
	top := m.superblock()
	c := ondisk.ReadCopies(given.Dev)
	if sb := c.Best(); sb != nil && (sb.Pool != m.pool || top.Lists(sb) && sb.Leg != old) {
		return fmt.Errorf("%w: %s is leg %d of pool %s: wipe it first if that is not needed", ErrInUse, given.Name, sb.Index, sb.Pool)
	}
	bits, err := m.mayDiffer(given)
	if err != nil {
		return err
	}
	// Neither superblock may outlive the leg that it told of, as the better one.
	if err := c.Erase(given.Dev); err != nil {
		return fmt.Errorf("%s: %w", given.Name, err)
	}
	sb := top
	sb.Index, sb.Leg, sb.LegSize = i, uuid.New(), given.Dev.Size()/BlockSize*BlockSize
	l := &leg{name: given.Name, uuid: sb.Leg, dev: given.Dev, sb: sb, buf: device.Aligned(BlockSize)}
	if err := clearGuards(given.Dev, &m.geo); err != nil {
		return fmt.Errorf("%s: %w", given.Name, err)
	}
	// Only the sequence numbers count: what is written goes on from them.
	l.readLog(&m.geo, make([]uint64, len(m.regions.want)))
	return m.letIn(op, i, l, bits, own)
}

// letIn makes a leg a member that is joining, with nothing in flight. Every
// region whose bit is set, or in bits, is durably marked on all legs before the
// leg is listed, and awaits resync. With own the device was the Mirror's before,
// and stays so after an error. Requires cycle.mu and resync.mu.
func (m *Mirror) letIn(op string, i int, l *leg, bits []uint64, own bool) error {
	if m.ring.j != nil {
		m.ring.emptying.Lock()
		defer m.ring.emptying.Unlock()
		// Most of it while the pool serves.
		if _, err := m.checkpoint(math.MaxInt64); err != nil {
			m.slog.Warn("journal: it is emptied with nothing in flight", "error", err)
		}
	}
	h := m.ranges.Acquire(0, m.geo.DataSize, rangelock.Exclusive)
	defer m.ranges.Release(h)
	if m.closed.Load() {
		return device.ErrClosed
	}
	if err := m.shareRing(l); err != nil {
		return err
	}
	before := m.publish(i, l)
	listed, err := m.list(i, l, bits)
	if !listed {
		if m.leg(i) == l {
			m.publish(i, before)
		}
		return err
	}
	if before != nil && !own {
		m.letGo(before)
	}
	switch {
	case m.roll().joining.has(i):
		if err != nil {
			m.slog.Error("leg is joining, and the next operation has to make that durable", "leg", l.name, "error", err)
		}
		m.slog.Info("leg is joining: it is given what it lacks", eventlog.Key, eventlog.LegJoining, "how", op, "leg", l.name, "uuid", l.uuid, "regions", m.regions.awaitingCount.Load())
		return nil
	case !own:
		m.publish(i, emptyLeg(l.name, l.uuid))
	}
	return fmt.Errorf("%w: leg %s failed while it was let in", device.ErrIO, l.name)
}

// shareRing empties the ring and gives a leg one like it, whatever it had before.
// From when it is listed it takes all that the others do, and so has all that is
// in the ring when it is in sync. Requires the whole range and ring.emptying.
func (m *Mirror) shareRing(l *leg) error {
	if m.ring.j == nil {
		return nil
	}
	h, err := m.drainHeld()
	if err != nil {
		return err
	}
	a := m.geo.Areas[ondisk.AreaJournal]
	slots := device.Aligned(2 * BlockSize) // no header of before outlives this
	copy(slots[h.Off-a.Off:], h.P)
	if err := writeFull(l, slots, a.Off); err != nil {
		return fmt.Errorf("%s: %w", l.name, err)
	}
	if err := l.flush(); err != nil {
		return fmt.Errorf("%s: %w", l.name, err)
	}
	return nil
}

// list writes the region log to a leg that is in its place, and makes it a
// member. It says whether it is one, if perhaps not durably.
func (m *Mirror) list(i int, l *leg, bits []uint64) (listed bool, err error) {
	m.regions.touch(bits)
	// Twice, so that neither slot keeps what the leg held before.
	for range 2 {
		if err := m.syncLogTo(1 << i); err != nil {
			return false, err
		}
	}
	// Before the roll says that the leg is joining: promote looks at both.
	m.regions.awaitAll(m.inSync().first())
	err = m.change(func(ms *members) error {
		if m.leg(i) != l {
			return fmt.Errorf("%w: leg %s was taken out of use meanwhile", ErrWrongState, l.name)
		}
		if i == len(ms.view) {
			ms.view = append(ms.view, ondisk.Member{})
		}
		ms.view[i].Leg = l.uuid
		m.mark(i, Joining)
		listed = true
		return nil
	})
	return listed, err
}

// promote puts the legs in sync that were joining and lack nothing any more. It
// says whether there were any. Requires resync.mu, so that none joins meanwhile.
func (m *Mirror) promote() bool {
	ready := m.roll().joining
	if ready == 0 || m.regions.awaitingCount.Load() > 0 || m.stopping.Load() || m.closed.Load() {
		return false
	}
	// What was copied is durable after this; a leg that cannot flush is failed.
	err := m.flushLegs()
	if err == nil {
		err = m.change(func(ms *members) error {
			ready &= m.roll().joining
			for i := range ms.view {
				if ready.has(i) {
					m.mark(i, InSync)
				}
			}
			ms.promoted |= ready
			return nil
		})
	}
	if err != nil {
		m.slog.Warn("legs that have everything could not be put in sync", "error", err)
		return false
	}
	for i, l := range m.legs() {
		if ready.has(i) && m.inSync().has(i) {
			m.slog.Info("leg is in sync", eventlog.Key, eventlog.LegInSync, "leg", l.name, "uuid", l.uuid)
		}
	}
	return ready != 0
}
