package holdfast

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"holdfast.dev/holdfast/internal/config"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/mirror"
	"holdfast.dev/holdfast/volume"
)

// DefaultVolume is what a pool's first volume is called if nobody says.
const DefaultVolume = "main"

// NoJournal asks for a pool without a journal.
const NoJournal = mirror.NoJournal

// CreateOptions say what Create makes.
type CreateOptions struct {
	// Legs are the paths of the copies, 1 to 4: block devices, or files, which
	// are made where there are none. They are relative to the working directory.
	Legs []string
	// LegSize is the size in bytes of the leg files that are made. 0: as large
	// as Size needs.
	LegSize int64
	// Size of the first volume in bytes. 0: as large as the legs allow.
	Size int64
	// Volume is the first volume's name; DefaultVolume if empty.
	Volume string
	// Stability is what a writer does who meets a page being written out: "wait"
	// (the default) or "copy".
	Stability string
	// Guards is what is stored for each block to check it by: "crc32c" (the
	// default), "t10-dif" or "none".
	Guards string
	// Journal is the size in bytes of the journal's area on each leg, a multiple of
	// 4096. 0: a 64th of the pool, from 1 to 256 MiB; NoJournal: none.
	Journal int64
	// TCP is the address on which serve offers the volumes beside the Unix
	// socket. Empty: none. There is no password: see the package comment.
	TCP string
}

// EnsureDefaults fills in what was left out.
func (o *CreateOptions) EnsureDefaults() {
	if o.Volume == "" {
		o.Volume = DefaultVolume
	}
	if o.Guards == "" {
		o.Guards = guard.CRC32C.String()
	}
	if o.Stability == "" {
		o.Stability = config.StabilityWait
	}
}

// Validate returns every fault of o at once, joined. It expects defaults to be
// filled in.
func (o *CreateOptions) Validate() error {
	var all []error
	if o.Size < 0 || o.Size%volume.BlockSize != 0 {
		all = append(all, fmt.Errorf("%w: size: a multiple of %d bytes is possible, not %d", ErrSettings, volume.BlockSize, o.Size))
	}
	if o.LegSize < 0 {
		all = append(all, fmt.Errorf("%w: leg size: %d bytes", ErrSettings, o.LegSize))
	}
	c := o.config(o.Legs)
	if err := c.Validate(); err != nil {
		all = append(all, fmt.Errorf("%w: %w", ErrSettings, err))
	}
	return errors.Join(all...)
}

// config is the settings file of the pool, with legs named as given.
func (o *CreateOptions) config(legs []string) config.Config {
	c := config.Default()
	c.Derive()
	c.Legs = legs
	c.NBD.TCP = o.TCP
	c.Volumes = map[string]config.Volume{o.Volume: {Stability: o.Stability}}
	return c
}

// Options say how a pool is opened. A zero field means what holdfast.toml says.
type Options struct {
	// Log is told what a person should know. Default: slog.Default().
	Log *slog.Logger
	// Budget is the memory for pages, in bytes; DirtyLimit, how many of them may
	// be dirty before writers are slowed.
	Budget, DirtyLimit int64
	// DirtyAge is how long a page may stay dirty before it is written out.
	DirtyAge time.Duration
	// Deadline is how long a leg may take to answer before it is set aside, or,
	// if it is the last, before the call fails.
	Deadline time.Duration
	// RegionPolicy says when a written region's mark is taken back: "verified",
	// "idle" or "never"; RegionPeriod, how often that is looked at.
	RegionPolicy string
	RegionPeriod time.Duration
	// ResyncShare is which part of the time may be spent on making legs equal, above
	// 0 up to 1.
	ResyncShare float64
	// Journal says what is written to the journal: "auto", "always" or "never".
	Journal string
	// WithoutJournal opens the pool although something that had been flushed can be
	// read from no leg's journal: it is lost then.
	WithoutJournal bool
	// WithoutLegs names legs, by path or UUID, that are lost or not to be used:
	// the pool is opened without them although they may hold what the others
	// lack, which is lost then.
	WithoutLegs []string
}

// EnsureDefaults fills in what was left out and is not holdfast.toml's to say.
func (o *Options) EnsureDefaults() {
	if o.Log == nil {
		o.Log = slog.Default()
	}
}

// Validate returns every fault of o at once, joined.
func (o *Options) Validate() error {
	c := config.Default()
	c.Legs = []string{"any"}
	return o.over(&c)
}

// over puts o over c, and returns every fault of what results.
func (o *Options) over(c *config.Config) error {
	if o.Budget != 0 {
		// What the file says of its own budget may not fit this one.
		c.Cache.Budget, c.Cache.DirtyLimit, c.Cache.DirtyBackground = config.Size(o.Budget), 0, 0
	}
	if o.DirtyLimit != 0 {
		c.Cache.DirtyLimit, c.Cache.DirtyBackground = config.Size(o.DirtyLimit), 0
	}
	if o.DirtyAge != 0 {
		c.Cache.DirtyAge = config.Duration(o.DirtyAge)
	}
	if o.Deadline != 0 {
		c.Deadline = config.Duration(o.Deadline)
	}
	if o.RegionPolicy != "" {
		c.RegionLog.Policy = o.RegionPolicy
	}
	if o.RegionPeriod != 0 {
		c.RegionLog.Period = config.Duration(o.RegionPeriod)
	}
	if o.ResyncShare != 0 {
		c.Resync.Share = o.ResyncShare
	}
	if o.Journal != "" {
		c.Journal.Mode = o.Journal
	}
	c.Derive()
	if err := c.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrSettings, err)
	}
	return nil
}
