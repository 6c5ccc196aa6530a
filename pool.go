package holdfast

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"holdfast.dev/holdfast/attach"
	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/config"
	"holdfast.dev/holdfast/internal/eventlog"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/mirror"
	"holdfast.dev/holdfast/nbd"
)

const (
	// minDrain is how long Close lets requests of clients finish, at least.
	minDrain = 30 * time.Second
	// drainDeadlines is how many deadlines of legs it lets them take: two legs
	// may hang one after the other. A request that is under way after it is left
	// behind, and Close says so.
	drainDeadlines = 3
)

// Pool is an open pool: the legs, their mirror, and the volumes in it.
type Pool struct {
	dir      string
	settings config.Config
	lock     *dirLock
	opened   time.Time

	floors
	log    *slog.Logger
	events *eventlog.Log
	keeper *keeper
	scrubs sync.WaitGroup
	server *nbd.Server
	mapper *attach.Server

	mu struct {
		sync.Mutex
		closed bool
	}
	// changing is held while the legs are changed, by those who also change what
	// settings says of them.
	changing sync.Mutex
}

// Open opens the pool in dir. One process at a time can have it open. After a
// crash the regions that were being written to are made equal on all legs in the
// background.
func Open(dir string, o Options) (*Pool, error) {
	o.EnsureDefaults()
	settings, err := loadSettings(dir)
	if err != nil {
		return nil, err
	}
	if err := o.over(&settings); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	p := &Pool{dir: dir, settings: settings, lock: lock, opened: time.Now(), events: eventlog.New(dir, o.Log.Handler())}
	o.Log = slog.New(p.events.Handler())
	p.log = o.Log
	if err := p.build(o); err != nil {
		p.events.Close()
		return nil, errors.Join(err, lock.release())
	}
	p.log.Info("the pool is open", eventlog.Key, eventlog.PoolOpened, "pool", p.mirror.Status().Pool, "pid", os.Getpid())
	p.keeper = newKeeper(dir, p.log, p.past)
	if err := p.resumeScrub(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// past is what is to be remembered of the pool.
func (p *Pool) past() mirror.Past {
	s := p.mirror.Status()
	return s.Past()
}

// build opens the floors from the legs upwards, or none.
func (p *Pool) build(o Options) error {
	set, err := openLegs(p.dir, &p.settings, device.FileOptions{})
	set.without = o.WithoutLegs
	if err != nil {
		return err
	}
	past, lost := loadPast(p.dir)
	if lost != nil {
		o.Log.Warn("error counts and the last scrub cannot be read, and are forgotten", "error", lost)
	}
	p.mirror, err = set.open(set.legs, mirror.Options{
		Policy:         mirror.Policy(p.settings.RegionLog.Policy),
		Period:         time.Duration(p.settings.RegionLog.Period),
		Log:            o.Log,
		Past:           past,
		ResyncShare:    p.settings.Resync.Share,
		Journal:        mirror.JournalMode(p.settings.Journal.Mode),
		WithoutJournal: o.WithoutJournal,
	})
	if err != nil {
		return errors.Join(err, closeLegs(set.legs))
	}
	if set.absent != nil {
		o.Log.Warn("the pool runs without a leg", "err", oneLine(set.absent))
	}
	if err := p.buildVolumes(o); err != nil {
		return errors.Join(err, p.floors.close())
	}
	p.server = nbd.NewServer(nbd.Options{Exports: exports{p}, Log: o.Log})
	p.mapper = attach.NewServer(attach.Options{
		Volumes: p.mapping, Allow: p.mayAttach, Log: o.Log, Announced: p.settings.Attach.Announced,
	})
	return nil
}

// buildVolumes opens what stands on the mirror.
func (p *Pool) buildVolumes(o Options) error {
	if err := p.openTable(); err != nil {
		return fmt.Errorf("pool %s: %w", p.dir, err)
	}
	for name := range p.settings.Volumes {
		if _, err := p.table.Lookup(name); err != nil {
			return fmt.Errorf("%w: %s: volumes.%s: %w", ErrSettings, under(p.dir, config.Name), name, err)
		}
	}
	c := &p.settings.Cache
	return p.openCache(cache.Options{
		Budget:     int64(c.Budget),
		DirtyLimit: int64(c.DirtyLimit),
		Background: int64(c.DirtyBackground),
		Age:        time.Duration(c.DirtyAge),
		Log:        o.Log,
		Unguarded:  p.mirror.Status().Guards.Kind == guard.None.String(),
	}, func(volume string) cache.Stability { return cache.Stability(p.settings.Stability(volume)) })
}

// Close stops serving, syncs every volume, and closes the pool so that the next
// Open has nothing to make equal. What could not be written is named in the
// error, and lost. Volumes that are still open fail with ErrClosed from then on.
func (p *Pool) Close() error {
	p.mu.Lock()
	closed := p.mu.closed
	p.mu.closed = true
	p.mu.Unlock()
	if closed {
		return fmt.Errorf("pool %s: %w", p.dir, ErrClosed)
	}
	ctx, cancel := context.WithTimeout(context.Background(), max(minDrain, drainDeadlines*time.Duration(p.settings.Deadline)))
	defer cancel()
	err := errors.Join(
		p.server.Shutdown(ctx),
		p.mapper.Shutdown(ctx),
		p.closeFloors(),
	)
	p.mapper.Close()
	p.keeper.close()
	if err != nil {
		p.log.Error("the pool is closed, and not everything went well", eventlog.Key, eventlog.PoolClosed, "error", oneLine(err))
	} else {
		p.log.Info("the pool is closed", eventlog.Key, eventlog.PoolClosed)
	}
	p.events.Close()
	return errors.Join(err, p.lock.release())
}

// closeFloors closes the floors, and waits for a scrub to notice.
func (p *Pool) closeFloors() error {
	defer p.scrubs.Wait()
	return p.floors.close()
}
