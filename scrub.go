package holdfast

import (
	"fmt"

	"holdfast.dev/holdfast/mirror"
)

// StartScrub begins to read everything on every leg, to check it against its
// guards and the other legs, and to heal what does not fit; with checkOnly,
// only to count it. Status tells how far it is. Share is which part of the time
// may be spent on it, above 0 up to 1; 0 is all of it.
func (p *Pool) StartScrub(checkOnly bool, share float64) error {
	if share < 0 || share > 1 {
		return fmt.Errorf("%w: a scrub may have a share from 0 to 1, not %v", ErrSettings, share)
	}
	run, err := p.mirror.BeginScrub(mirror.ScrubOptions{CheckOnly: checkOnly, Share: share})
	if err != nil {
		return fmt.Errorf("pool %s: %w", p.dir, err)
	}
	p.scrubs.Go(func() {
		if err := run(); err != nil {
			p.log.Warn("scrub did not come to its end", "err", err)
		}
	})
	return nil
}

// StopScrub ends a scrub that is under way.
func (p *Pool) StopScrub() { p.mirror.StopScrub() }
