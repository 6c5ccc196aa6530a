package config

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"holdfast.dev/holdfast/volume"
)

// Bounds of settings.
const (
	// MaxLegs is how many copies a mirror has at most.
	MaxLegs = 4
	// BudgetMin leaves room for a few large requests in memory at once.
	BudgetMin = 16 << 20
	// DirtyMin is a run that write-out can still coalesce.
	DirtyMin = 1 << 20
	// PeriodMin keeps the region log from costing more writes than it saves.
	PeriodMin = 10 * time.Millisecond
	// DeadlineMin is longer than a sound disk takes for anything, unless it has
	// to spin up.
	DeadlineMin = time.Second
	// PeriodMax, AgeMax and DeadlineMax catch a mistaken unit.
	PeriodMax   = 24 * time.Hour
	AgeMax      = time.Hour
	DeadlineMax = time.Hour
	// ShareMin catches a mistake: a hundred times as long as it could take.
	ShareMin = 0.01
	// AgeMin keeps the flusher from running all the time.
	AgeMin = 10 * time.Millisecond
)

// Validate returns every fault of c at once, joined.
func (c *Config) Validate() error {
	var all []error
	fault := func(format string, args ...any) { all = append(all, fmt.Errorf(format, args...)) }

	if n := len(c.Legs); n < 1 || n > MaxLegs {
		fault("legs: a pool has 1 to %d legs, not %d", MaxLegs, n)
	}
	for i, l := range c.Legs {
		if l == "" {
			fault("legs: leg %d has an empty path", i+1)
		} else if !utf8.ValidString(l) {
			fault("legs: %q is not valid UTF-8", l)
		} else if slices.Index(c.Legs, l) < i {
			fault("legs: %s is named twice", l)
		}
	}
	bounds(fault, "deadline", time.Duration(c.Deadline), DeadlineMin, DeadlineMax)
	if !slices.Contains([]string{PolicyVerified, PolicyIdle, PolicyNever}, c.RegionLog.Policy) {
		fault("region_log.policy: %q is not one of verified, idle, never", c.RegionLog.Policy)
	}
	bounds(fault, "region_log.period", time.Duration(c.RegionLog.Period), PeriodMin, PeriodMax)
	if !slices.Contains([]string{JournalAuto, JournalAlways, JournalNever}, c.Journal.Mode) {
		fault("journal.mode: %q is not one of auto, always, never", c.Journal.Mode)
	}
	bounds(fault, "cache.dirty_age", time.Duration(c.Cache.DirtyAge), AgeMin, AgeMax)
	c.Cache.validate(fault)
	share(fault, "scrub.share", c.Scrub.Share)
	share(fault, "resync.share", c.Resync.Share)
	for name, v := range c.Volumes {
		if err := volume.CheckName(name); err != nil {
			fault("volumes: %w", err)
		}
		if v.Stability != "" && v.Stability != StabilityWait && v.Stability != StabilityCopy {
			fault("volumes.%s.stability: %q is not one of wait, copy", name, v.Stability)
		}
	}
	if c.NBD.TCP != "" {
		if err := checkTCP(c.NBD.TCP); err != nil {
			fault("nbd.tcp: %w", err)
		}
	}
	return errors.Join(all...)
}

func (c *Cache) validate(fault func(string, ...any)) {
	if c.Budget < BudgetMin {
		fault("cache.budget: %v is less than %v", c.Budget, Size(BudgetMin))
	}
	if c.DirtyLimit < DirtyMin || c.DirtyLimit > c.Budget/4*3 {
		fault("cache.dirty_limit: %v is not within %v and three quarters of the budget of %v", c.DirtyLimit, Size(DirtyMin), c.Budget)
	}
	if c.DirtyBackground <= 0 || c.DirtyBackground > c.DirtyLimit {
		fault("cache.dirty_background: %v is not above 0 and within the dirty_limit of %v", c.DirtyBackground, c.DirtyLimit)
	}
}

func bounds(fault func(string, ...any), key string, v, low, high time.Duration) {
	if v < low || v > high {
		fault("%s: %v is not within %v and %v", key, v, low, high)
	}
}

func share(fault func(string, ...any), key string, v float64) {
	if !(v >= ShareMin && v <= 1) {
		fault("%s: %v is not within %v and 1", key, v, ShareMin)
	}
}

func checkTCP(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT", addr)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q has no port within 0 and 65535", addr)
	}
	return nil
}
