package holdfast

import (
	"cmp"
	"fmt"

	"holdfast.dev/holdfast/mirror"
)

// StartScrub begins to read everything on every leg, to check it against its
// guards and the other legs, and to heal what does not fit; with checkOnly,
// only to count it. Status tells how far it is. Share is which part of the time
// may be spent on it, above 0 up to 1; 0 is what holdfast.toml says. If the pool is
// closed or the program ends, it goes on when the pool is opened again.
func (p *Pool) StartScrub(checkOnly bool, share float64) error {
	if err := checkShare("scrub", share); err != nil {
		return err
	}
	run, err := p.mirror.BeginScrub(mirror.ScrubOptions{CheckOnly: checkOnly, Share: cmp.Or(share, p.settings.Scrub.Share)})
	if err != nil {
		return fmt.Errorf("pool %s: %w", p.dir, err)
	}
	p.runScrub(run)
	return nil
}

// StopScrub ends a scrub that is under way, for good.
func (p *Pool) StopScrub() {
	p.mirror.StopScrub()
	p.keeper.save() // or it would go on after a crash
}

// resumeScrub goes on with a scrub that was interrupted.
func (p *Pool) resumeScrub() error {
	run, err := p.mirror.ResumeScrub()
	if run != nil {
		p.runScrub(run)
	}
	return err
}

// runScrub has a scrub done that has begun. How it ended the mirror tells.
func (p *Pool) runScrub(run func() error) {
	p.keeper.save()
	p.scrubs.Go(func() {
		_ = run() // what went wrong is in the log, and in the status
		p.keeper.save()
	})
}

// SetResyncShare changes which part of the time may be spent on making legs equal,
// above 0 up to 1, until the pool is closed; 0 is what holdfast.toml says.
func (p *Pool) SetResyncShare(share float64) error {
	if err := checkShare("resync", share); err != nil {
		return err
	}
	return p.mirror.SetResyncShare(cmp.Or(share, p.settings.Resync.Share))
}

func checkShare(of string, share float64) error {
	if !(share >= 0 && share <= 1) {
		return fmt.Errorf("%w: a %s may have a share from 0 to 1, not %v", ErrSettings, of, share)
	}
	return nil
}

// ClearErrors forgets what a leg was charged with, by path or UUID, or, if it is
// empty, what every leg was. What is wrong with a leg stays so, and shows again.
func (p *Pool) ClearErrors(leg string) error {
	defer p.keeper.save()
	if leg == "" {
		return p.mirror.ClearErrors("")
	}
	return p.changeLegs(func(c *legChange) error {
		l, err := c.find(leg)
		if err != nil {
			return err
		}
		return p.mirror.ClearErrors(l.UUID)
	})
}
