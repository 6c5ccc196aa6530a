package mirror

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/eventlog"
	"holdfast.dev/holdfast/internal/mutant"
	"holdfast.dev/holdfast/internal/rangelock"
	"holdfast.dev/holdfast/internal/seam"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// Options says how to run a pool.
type Options struct {
	// Policy says when bits of the region log are cleared; Verified if empty.
	Policy Policy
	// Period is how often the helper looks; DefaultPeriod if zero.
	Period time.Duration
	// Log takes what a person should know; nothing is logged if nil.
	Log *slog.Logger
	// Journal says what goes to the journal, if the pool has one; JournalAuto if
	// empty.
	Journal JournalMode
	// WithoutJournal opens the pool although something that was in its journal,
	// and had been flushed, can be read from no leg: it is lost then.
	WithoutJournal bool
	// Manual starts no task, ever: legs are written one after the other by the
	// caller, and Cycle and ResyncStep are called by hand.
	Manual bool
	// Without names legs to do without, as a person says who has read what a
	// ChoiceError is about: by UUID, or by the name of a leg that is given. They are failed, and set aside if they are given.
	Without []string
	// Past is what the pool was before, as Status.Past told it; without, errors are
	// counted from Open on.
	Past Past
	// ResyncShare is which part of the time the resync may take, above 0 up to 1;
	// the rest is left to others. 0 is all of it.
	ResyncShare float64
}

// Mirror is an open pool: a device whose bytes are on every leg.
type Mirror struct {
	pool   uuid.UUID
	geo    ondisk.Geometry
	policy Policy
	period time.Duration
	manual bool
	slog   *slog.Logger
	owner  Owner

	// legTable is for legs and leg to read, and for publish to change.
	legTable atomic.Pointer[[]*leg]
	// strangers are devices that were given and are not used.
	strangers []Leg

	ranges  *rangelock.Lock
	regions *regions
	log     regionLog
	members members
	fans    store[fanout]
	spreads store[spread]
	flusher flusher
	cycle   cycle
	resync  resync
	guards  *guards
	scrub   scrub
	ring    ring

	menders  store[mender]
	oneBlock store[[BlockSize]byte]
	// unclean says that legs in sync may differ where the region log says so: the
	// pool was not closed before it was opened, or not everything was resynced.
	unclean bool
	// undecided are blocks of which no copy fitted its guard after a crash.
	undecided atomic.Uint64

	// closed is set with the whole range held, so nothing is in flight then.
	closed   atomic.Bool
	stopping atomic.Bool
	bell     *seam.Alarm
	tasks    seam.Group
}

// Open opens the pool that the legs make up. On success the legs belong to the
// Mirror, which closes them; on an error they are as they were, unless the
// error is one of writing to them.
func Open(legs []Leg, o Options) (*Mirror, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	a, err := assembleGiven(legs, o.Without)
	if err != nil {
		return nil, err
	}
	if err := a.mayWrite(); err != nil {
		return nil, err
	}
	m := newMirror(a, o)
	m.report(a)
	if err := m.bringUp(a, o.WithoutJournal); err != nil {
		return nil, fmt.Errorf("pool %s cannot be opened: %w", m.pool, err)
	}
	return m, nil
}

func (o *Options) complete() error {
	switch o.Policy {
	case "":
		o.Policy = Verified
	case Verified, Idle, Never:
	default:
		return fmt.Errorf("%w: policy %q: known are %s, %s and %s", ErrInvalid, o.Policy, Verified, Idle, Never)
	}
	switch o.Journal {
	case "":
		o.Journal = JournalAuto
	case JournalAuto, JournalAlways, JournalNever:
	default:
		return fmt.Errorf("%w: journal %q: known are %s, %s and %s", ErrInvalid, o.Journal, JournalAuto, JournalAlways, JournalNever)
	}
	if o.Period < 0 {
		return fmt.Errorf("%w: period %v is negative", ErrInvalid, o.Period)
	}
	if o.Period == 0 {
		o.Period = DefaultPeriod
	}
	if err := checkShare(o.ResyncShare); err != nil {
		return err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

func newMirror(a *assembly, o Options) *Mirror {
	top := a.newest.sb
	m := &Mirror{
		pool: top.Pool, geo: top.Geometry,
		unclean: top.State != ondisk.PoolClean || top.Unsettled, policy: o.Policy, period: o.Period, manual: o.Manual, slog: o.Log,
		ranges: rangelock.New(), bell: seam.NewAlarm(),
	}
	m.regions = newRegions(&m.geo)
	m.log = regionLog{m: m, bits: make([]ondisk.LogBits, ondisk.LogBlocks(m.regions.n))}
	m.guards = newGuards(m)
	m.makeStores()
	m.ring.init(m, o.Journal)
	m.flusher.group.Init()
	m.resync.bell, m.resync.rests = seam.NewAlarm(), seam.NewAlarm()
	m.scrub.alarm = seam.NewAlarm()
	m.members.view = append(m.members.view, top.Members...)
	m.members.state, m.members.unsettled = top.State, top.Unsettled
	m.members.generation.Store(top.Generation)
	m.members.absent = a.gone
	m.members.used = top.Used
	m.members.closed = a.mayBeClosed(o.Without)
	m.members.word.Store(rollCall(top.Members, a.gone).word())
	var legs []*leg
	for i, f := range a.byIndex {
		if f == nil {
			legs = append(legs, emptyLeg(fmt.Sprintf("leg %d (not given)", i), top.Members[i].Leg))
			continue
		}
		legs = append(legs, f.leg())
	}
	m.legTable.Store(&legs)
	m.recall(o.Past)
	m.resync.share.store(o.ResyncShare)
	for _, s := range a.strangers {
		m.strangers = append(m.strangers, s.Leg)
	}
	return m
}

// report logs what was found amiss and is no reason to refuse.
func (m *Mirror) report(a *assembly) {
	for _, s := range a.strangers {
		m.slog.Warn("a device is left alone: attach it, replace a leg with it, or leave it out", eventlog.Key, eventlog.LegStranger, "device", s.Name, "error", s.why)
	}
	for i, f := range a.byIndex {
		switch l := m.leg(i); {
		case !a.roll.present.has(i):
		case a.gone.has(i):
			m.slog.Error("leg is not there: the pool goes on without it, and what it misses is remembered until it is attached", eventlog.Key, eventlog.LegAbsent, "leg", l.name, "uuid", l.uuid)
		case !a.roll.targets().has(i):
			m.slog.Warn("leg is listed as failed: it is left alone until it is attached, and the pool runs without it", eventlog.Key, eventlog.LegAbsent, "leg", l.name, "uuid", l.uuid)
		case f.copies.Broken() != nil:
			c := f.copies.Broken()
			m.slog.Warn("one superblock is broken: the other serves, and it is written anew", eventlog.Key, eventlog.LegRepaired, "leg", f.Name, "offset", c.Off, "error", c.Err)
		}
	}
}

// bringUp makes the pool ready for use. The package comment says why the
// generation is raised twice, and why legs that lag come first.
func (m *Mirror) bringUp(a *assembly, withoutJournal bool) error {
	if err := m.setAsideUnflushed(a); err != nil {
		return err
	}
	if a.behind() {
		m.members.word.Store(m.members.word.Load() | unrecorded)
	}
	err := m.change(func(ms *members) error {
		m.giveUp(a)
		ms.state = ondisk.PoolOpening
		return nil
	})
	if err != nil {
		return err
	}
	m.members.closed = [MaxLegs]legMask{} // all of them know better
	if err := m.bringUpLog(); err != nil {
		return err
	}
	if err := m.setState(ondisk.PoolOpen); err != nil {
		return err
	}
	return m.bringUpRing(withoutJournal)
}

// bringUpLog takes the union of the legs' logs and writes it back to all.
func (m *Mirror) bringUpLog() error {
	r := m.roll()
	bits := make([]uint64, len(m.regions.want))
	for i, l := range m.legs() {
		if !r.targets().has(i) {
			continue
		}
		for _, b := range l.readLog(&m.geo, bits) {
			m.slog.Warn("region log: neither slot of a block can be read: all its regions count as dirty", eventlog.Key, eventlog.LegRepaired, "leg", l.name, "block", b)
		}
	}
	if mutant.On(mutant.RegionLogIgnored) {
		m.regions.setAll(bits)
	}
	// With one leg there is nothing to make equal, but blocks that were in flight
	// do not fit their guards.
	why := regionFlags(0)
	if m.unclean {
		why = inFlight
	}
	resync := r.targets().len() > 1 || m.unclean && m.guards.on()
	m.regions.load(bits, resync, r.in.first(), why)
	if n := countBits(bits); n > 0 && m.unclean {
		m.slog.Info("the pool was not closed, or not everything was made equal: regions are dirty",
			eventlog.Key, eventlog.UncleanOpen, "regions", n, "of", m.regions.n, "resync", resync)
	} else if n > 0 {
		m.slog.Info("region log: regions are dirty", "regions", n, "of", m.regions.n, "resync", resync)
	}
	return m.syncLog()
}

// Start starts the helper and the resync in the background, unless the Mirror
// is manual.
func (m *Mirror) Start() {
	if m.manual {
		return
	}
	m.tasks.Go("mirror.helper", m.helper)
	m.tasks.Go("mirror.resync", m.resyncLoop)
	if m.ring.j != nil {
		m.tasks.Go("mirror.journal", m.checkpointLoop)
	}
}

// stop ends the background tasks and, when all calls have returned, lets no
// other in. It says whether the Mirror was still open.
func (m *Mirror) stop() bool {
	m.stopping.Store(true)
	m.bell.Ring()
	m.resync.bell.Ring()
	m.resync.rests.Ring()
	m.scrub.alarm.Ring()
	m.ring.bell.Ring()
	m.ring.rests.Ring()
	m.tasks.Wait()
	h := m.ranges.Acquire(0, m.geo.DataSize, rangelock.Exclusive)
	defer m.ranges.Release(h)
	return m.closed.CompareAndSwap(false, true)
}

// Close flushes the legs, clears the bits of all regions in which they are
// known to be equal, writes down that the pool is closed, and closes the legs.
// Whoever keeps pages above has synced them before. After an error the pool
// is as after a crash, and its legs are closed all the same.
func (m *Mirror) Close() error {
	if !m.stop() {
		return m.closedErr("close")
	}
	m.cycle.mu.Lock() // no round is under way
	defer m.cycle.mu.Unlock()
	err := m.shutDown()
	return m.opError("close", 0, 0, errors.Join(err, m.closeLegs()))
}

func (m *Mirror) shutDown() error {
	if err := m.empty(); err != nil {
		return err
	}
	if err := m.flushAndTell(); err != nil {
		return err
	}
	if m.full() {
		if err := m.settleRegions(m.regions.mark()); err != nil {
			return err
		}
	}
	return m.writeClosed()
}

// writeClosed writes down that the pool is closed, on all legs in sync: where
// one fails, the others say that they are open and it has failed, before that is
// tried again without it.
func (m *Mirror) writeClosed() error {
	for {
		clean := false
		err := m.change(func(ms *members) error {
			for i := range ms.closed {
				ms.closed[i] = m.inSync()
			}
			ms.state, ms.unsettled = ondisk.PoolClean, m.regions.anyDisturbed()
			return nil
		})
		m.members.mu.Lock()
		clean = m.members.state == ondisk.PoolClean
		m.members.mu.Unlock()
		if err != nil || clean {
			return err
		}
	}
}

// Abandon stops and closes without writing anything: what a crash looks like.
func (m *Mirror) Abandon() {
	if m.stop() {
		m.cycle.mu.Lock()
		defer m.cycle.mu.Unlock()
		// What a device says while it is abandoned is of no use to anybody.
		_ = m.closeLegs()
	}
}

func (m *Mirror) closeLegs() error {
	m.flusher.group.Close(device.ErrClosed)
	var errs []error
	for i, l := range m.legs() {
		err := l.dev.Close()
		switch {
		case err == nil:
		case m.inSync().has(i):
			errs = append(errs, fmt.Errorf("leg %s: %w", l.name, err))
		default:
			// Nothing of the pool was to be had from it any more.
			m.slog.Warn("leg had failed, and cannot be closed either", "leg", l.name, "error", err)
		}
	}
	for _, s := range m.strangers {
		if err := s.Dev.Close(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.Name, err))
		}
	}
	return errors.Join(errs...)
}
