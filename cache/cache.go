package cache

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/groupcommit"
	"holdfast.dev/holdfast/internal/rangelock"
	"holdfast.dev/holdfast/internal/seam"
)

// The errors of this package, beside those of the backing.
var (
	// ErrClosed says that the handle, mapping or cache was closed.
	ErrClosed = device.ErrClosed
	// ErrRefused says that the owner did not agree to a page becoming dirty.
	ErrRefused = errors.New("write refused")
	// ErrWriteOut says that dirty pages could not be written to the backing.
	// They stay dirty and are tried again.
	ErrWriteOut = errors.New("write-out failed")
	// ErrNoRoom says that the budget is full of pages that cannot leave.
	ErrNoRoom = errors.New("cache is full of pages that cannot be written out")
)

const (
	// MinBudget leaves every task room for the largest run that it installs at
	// once, so that none waits for pages that only it could give up.
	MinBudget = 1 << 20
	// defaultBudget suits a laptop; a server is told what it may use.
	defaultBudget = 256 << 20
	// defaultInterval and defaultAge are Linux's dirty_writeback_centisecs and
	// a sixth of its dirty_expire_centisecs: a mirror is resynced by what was
	// dirty, so dirt should not grow old.
	defaultInterval = time.Second
	defaultAge      = 5 * time.Second
)

// DefaultDirtyLimit is the dirty limit where only the budget is known: three
// quarters of it. The rest is left for what is read. A page that is written again
// before its write-out has spared one, so more that may be dirty is less to write.
func DefaultDirtyLimit(budget int64) int64 { return budget / 4 * 3 }

// DefaultBackground is where the flusher starts if only the dirty limit is known:
// at two thirds, half of the budget by default, where dm-writecache starts too
// (drivers/md/dm-writecache.c), so that a burst finds the last third free. What is
// dirty has to be written before a flush is answered, so it is never more than
// maxBackground.
func DefaultBackground(limit int64) int64 { return min(limit/3*2, maxBackground) }

// maxBackground is what a disk of 200 MB/s writes within the default age.
const maxBackground = 1 << 30

// Options configure a Cache. A zero field means its default.
type Options struct {
	// Budget is the memory for frames and shadows, in bytes, at least MinBudget.
	Budget int64
	// DirtyLimit is how many bytes may be dirty or under write-out before
	// writers wait; Background, how many before the flusher starts. Defaults:
	// DefaultDirtyLimit and DefaultBackground.
	DirtyLimit, Background int64
	// Age is how long a page may stay dirty before the flusher writes it out
	// (it may take twice that); Interval, how often the flusher looks.
	Age, Interval time.Duration
	// Unguarded leaves out the checksums that find what changes in memory between
	// copy-in and write-out.
	Unguarded bool
	// Manual leaves out all background work: write-out happens by sync, by
	// reclaim, and when Tick is called. For deterministic tests.
	Manual bool
	// Log is told what a person should know. Default: slog.Default().
	Log *slog.Logger
}

func (o *Options) ensureDefaults() error {
	def := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.Budget, defaultBudget)
	def(&o.DirtyLimit, DefaultDirtyLimit(o.Budget))
	def(&o.Background, DefaultBackground(o.DirtyLimit))
	if o.Age == 0 {
		o.Age = defaultAge
	}
	if o.Interval == 0 {
		o.Interval = defaultInterval
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	var errs []error
	if o.Budget < MinBudget {
		errs = append(errs, fmt.Errorf("cache: budget of %d bytes: at least %d are needed", o.Budget, MinBudget))
	}
	if o.DirtyLimit < PageSize || o.DirtyLimit > o.Budget*3/4 {
		errs = append(errs, fmt.Errorf("cache: dirty limit of %d bytes: between %d and three quarters of the budget (%d) are possible",
			o.DirtyLimit, PageSize, o.Budget*3/4))
	}
	if o.Background < 0 || o.Background > o.DirtyLimit {
		errs = append(errs, fmt.Errorf("cache: background limit of %d bytes: at most the dirty limit (%d) is possible", o.Background, o.DirtyLimit))
	}
	if o.Age < 0 || o.Interval < 0 {
		errs = append(errs, fmt.Errorf("cache: age %v and interval %v must be above zero", o.Age, o.Interval))
	}
	return errors.Join(errs...)
}

// Cache is the memory that mappings share.
type Cache struct {
	o     Options
	waits [1 << waitQueueBits]waitQueue

	// charged is the number of frames and shadows; reserved, of pages that are
	// dirty or under write-out in mappings that count; failing, of those among
	// them whose write-out failed.
	charged, reserved, failing atomic.Int64

	// pins and holds count pages.
	pins, holds quota

	queues    queues
	snapshots buffers
	fetched   buffers
	extract   extract
	throttle  throttle
	flusher   flusher
	counters  counters

	mu struct {
		seam.Mutex
		mappings []*Mapping
		nextID   uint64
		closed   bool
	}
}

// New makes a cache and, unless Manual, starts its flusher.
func New(o Options) (*Cache, error) {
	if err := o.ensureDefaults(); err != nil {
		return nil, err
	}
	c := &Cache{o: o}
	for i := range c.waits {
		q := &c.waits[i]
		q.changed = seam.NewCond(&q.mu)
	}
	c.queues.init(o.Budget / PageSize)
	c.snapshots.init(snapshotCount)
	c.fetched.init(fetchCount)
	c.throttle.init()
	c.flusher.start(c)
	return c, nil
}

// Backing is what a mapping caches: a device, and the owner of its space.
type Backing interface {
	device.Device
	// Reserve is asked before a page becomes dirty, with the page's bytes; an
	// error refuses, and the writer is told. It is called with the page locked,
	// so it may not call the cache, nor wait for anything that does.
	Reserve(off, n int64) error
	// Release says that the page is not dirty any more, once for each Reserve.
	// The same rules hold.
	Release(off, n int64)
}

// Stability says what a writer does who meets a page under write-out.
type Stability string

const (
	// StabilityWait makes him wait until the write-out is done.
	StabilityWait Stability = "wait"
	// StabilityCopy gives the page a shadow for him to write to, which is
	// written out when the original has been. Where the budget has no room for
	// a shadow he waits.
	StabilityCopy Stability = "copy"
)

// MappingOptions configure a Mapping.
type MappingOptions struct {
	// Name says in messages which mapping it is.
	Name string
	// Stability is StabilityWait if empty.
	Stability Stability
	// MemoryBacked says that writing out frees no memory worth speaking of: its
	// dirty pages are not counted against the dirty limits, and only sync and
	// reclaim write them out (Linux: backing_dev_info.memory_backed).
	MemoryBacked bool
}

// Mapping is the cache of one backing.
type Mapping struct {
	c       *Cache
	o       MappingOptions
	id      uint64
	backing Backing
	arena   *arena
	leaves  leaves
	tags    *tags
	// size in bytes. It changes only while ranges is held from the lesser of
	// old and new to the end.
	size atomic.Int64
	// ranges is held shared by fills and by writes that install a page, and
	// exclusively by what takes pages away for good.
	ranges *rangelock.Lock
	// leaving is held exclusively from before pages are taken away until the backing
	// has been told, and shared for a moment by a sync that may have missed them.
	leaving *rangelock.Lock
	// pinners lets in who pins without a range, but while a truncate is under way.
	pinners gate
	shadows shadows
	errs    errseq
	streams streams
	// background has the tasks that read ahead.
	background seam.Group
	flushes    groupcommit.Group
	faults     faults
	retry      retryTimer
	// exposed says that others have had the memory: see Attachment. It is set with
	// exposing held, which claims of frames hold too.
	exposed  atomic.Bool
	exposing seam.Mutex
	async    async
	// cursor is the page where background write-out goes on.
	cursor atomic.Int64

	attached struct {
		seam.Mutex
		list []*Attachment
	}

	mu struct {
		seam.Mutex
		handles map[*Handle]struct{}
		closed  bool
	}
}

// Map makes the cache of b, whose size must be a multiple of PageSize. It takes
// b over: Close closes it.
func (c *Cache) Map(b Backing, o MappingOptions) (*Mapping, error) {
	size := b.Size()
	if size < 0 || size%PageSize != 0 {
		return nil, fmt.Errorf("cache: %s: size of %d bytes is not a multiple of %d", o.Name, size, PageSize)
	}
	switch o.Stability {
	case "":
		o.Stability = StabilityWait
	case StabilityWait, StabilityCopy:
	default:
		return nil, fmt.Errorf("cache: %s: stability %q: possible are %q and %q", o.Name, o.Stability, StabilityWait, StabilityCopy)
	}
	pages := size / PageSize
	a, err := newArena(o.Name, size)
	if err != nil {
		return nil, err
	}
	m := &Mapping{c: c, o: o, backing: b, arena: a, leaves: newLeaves(pages), tags: newTags(pages), ranges: rangelock.New(), leaving: rangelock.New()}
	m.size.Store(size)
	m.streams.alone = c.o.Manual
	m.shadows.init()
	m.flushes.Init()
	m.pinners.init()
	m.mu.handles = make(map[*Handle]struct{})
	// What a server before this one wrote may still wait for a flush.
	m.tags.unstable.note()

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return nil, errors.Join(fmt.Errorf("cache: %w", ErrClosed), a.close())
	}
	m.id = c.mu.nextID
	c.mu.nextID++
	c.mu.mappings = append(c.mu.mappings, m)
	return m, nil
}

// Size is the mapping's size in bytes.
func (m *Mapping) Size() int64 { return m.size.Load() }

func (m *Mapping) pages() int64 { return m.size.Load() / PageSize }

// mappings returns the mappings of the moment.
func (c *Cache) mappings() []*Mapping {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*Mapping(nil), c.mu.mappings...)
}

// Close syncs every mapping, closes the handles that are still open once their
// calls have returned, and gives all memory back. If a sync fails the pages
// that could not be written are lost, and the error says so.
func (c *Cache) Close() error { return c.shut(true) }

// Abandon gives everything back and writes nothing, as a crash would.
func (c *Cache) Abandon() error { return c.shut(false) }

func (c *Cache) shut(sync bool) error {
	c.mu.Lock()
	if c.mu.closed {
		c.mu.Unlock()
		return nil
	}
	c.mu.closed = true
	mappings := c.mu.mappings
	c.mu.Unlock()

	var errs []error
	for _, m := range mappings {
		m.closeHandles()
		m.background.Wait()
	}
	c.flusher.stop()
	for _, m := range mappings {
		if sync {
			if err := m.sync(0, m.pages()); err != nil {
				errs = append(errs, fmt.Errorf("cache: %s: closed with unwritten pages: %w", m.o.Name, err))
			}
		}
		errs = append(errs, m.backing.Close(), m.arena.close())
	}
	c.extract.close()
	return errors.Join(errs...)
}
