package holdfast

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/deadline"
	"holdfast.dev/holdfast/internal/config"
	"holdfast.dev/holdfast/mirror"
)

// legSet is the legs of a pool that could be opened, and why others are absent.
// Whether a pool can do without them the mirror decides: a leg that had failed
// before is not needed.
type legSet struct {
	legs   []mirror.Leg
	absent error
}

// openLegs opens the pool's legs. It fails if one is there and cannot be opened,
// or if none is there.
func openLegs(dir string, c *config.Config, o device.FileOptions) (set legSet, err error) {
	for _, name := range c.Legs {
		path := under(dir, name)
		d, err := deadline.Open(func() (device.Device, error) { return device.OpenFile(path, o) },
			deadline.Options{Name: path, Deadline: time.Duration(c.Deadline)})
		switch {
		case err == nil:
			set.legs = append(set.legs, mirror.Leg{Name: path, Dev: d})
		case errors.Is(err, device.ErrTimeout):
			set.absent = errors.Join(set.absent, fmt.Errorf("%w: %w; see to it, or give it more time in %s",
				ErrLegMissing, err, under(dir, config.Name)))
		case errors.Is(err, fs.ErrNotExist):
			set.absent = errors.Join(set.absent, fmt.Errorf("%w: %s, which %s names, is not there; put it back, or correct the path",
				ErrLegMissing, path, under(dir, config.Name)))
		default:
			return legSet{}, errors.Join(err, closeLegs(set.legs))
		}
	}
	if len(set.legs) == 0 {
		return legSet{}, set.absent
	}
	return set, nil
}

// open opens the mirror on some view of the set's legs.
func (s *legSet) open(legs []mirror.Leg, o mirror.Options) (*mirror.Mirror, error) {
	m, err := mirror.Open(legs, o)
	if errors.Is(err, ErrLegMissing) && s.absent != nil {
		return nil, s.absent // it names the path
	}
	return m, err
}

func closeLegs(legs []mirror.Leg) error {
	var all []error
	for _, l := range legs {
		all = append(all, l.Dev.Close())
	}
	return errors.Join(all...)
}

// loadSettings reads dir's holdfast.toml.
func loadSettings(dir string) (config.Config, error) {
	c, err := config.Load(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("%s: %w: it has no %s; make a pool with holdfast create", dir, ErrNoPool, config.Name)
	}
	return c, err
}
