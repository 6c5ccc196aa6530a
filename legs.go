package holdfast

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
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
	dir    string
	legs   []mirror.Leg
	absent error
	// paths are where the absent ones should be.
	paths []string
	// without names legs to do without.
	without []string
}

// openLegs opens the pool's legs. It fails if one is there and cannot be opened,
// or if none is there.
func openLegs(dir string, c *config.Config, o device.FileOptions) (set legSet, err error) {
	set.dir = dir
	for _, name := range c.Legs {
		path := under(dir, name)
		d, err := openLeg(path, c, o)
		switch {
		case err == nil:
			set.legs = append(set.legs, mirror.Leg{Name: path, Dev: d})
		case errors.Is(err, device.ErrTimeout):
			set.absent = errors.Join(set.absent, fmt.Errorf("%w: %w; see to it, or give it more time in %s",
				ErrLegMissing, err, under(dir, config.Name)))
		case errors.Is(err, fs.ErrNotExist):
			set.paths = append(set.paths, path)
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

// openLeg opens a leg that nobody waits for longer than the settings say, whatever
// the device does.
func openLeg(path string, c *config.Config, o device.FileOptions) (*deadline.Device, error) {
	return deadline.Open(func() (device.Device, error) { return device.OpenFile(path, o) },
		deadline.Options{Name: path, Deadline: time.Duration(c.Deadline)})
}

// open opens the mirror on some view of the set's legs.
func (s *legSet) open(legs []mirror.Leg, o mirror.Options) (*mirror.Mirror, error) {
	var lost []string // named to be done without, of those that are absent
	for _, w := range s.without {
		if path, ok := s.find(w, s.paths); ok {
			lost = append(lost, path)
		} else if path, ok := s.find(w, s.names()); ok {
			o.Without = append(o.Without, path)
		} else {
			o.Without = append(o.Without, w) // a UUID
		}
	}
	m, err := mirror.Open(legs, o)
	if errors.Is(err, ErrJournal) && !o.WithoutJournal {
		return nil, fmt.Errorf("%w; to go on without it all the same, and lose what it holds: holdfast serve %s --force-without-journal", err, s.dir)
	}
	choice := (*mirror.ChoiceError)(nil)
	if errors.Is(err, ErrNoLeg) {
		return nil, fmt.Errorf("%w; the pool has %s", err, strings.Join(append(s.names(), s.paths...), ", "))
	}
	if !errors.As(err, &choice) {
		return m, err
	}
	if errors.Is(err, ErrLegMissing) && s.allNamed(lost, len(choice.Legs)) {
		// The mirror knows those who are not there by UUID only.
		o.Without = append(o.Without, choice.Legs...)
		return mirror.Open(legs, o)
	}
	names := choice.Legs
	if errors.Is(err, ErrLegMissing) && s.absent != nil {
		err = fmt.Errorf("%w (%w)", s.absent, err) // it names the path
	}
	return nil, fmt.Errorf("%w; to go on without it all the same, and lose what only it holds: holdfast serve %s --force-without %s",
		err, s.dir, strings.Join(names, " --force-without "))
}

// names returns the paths of the legs that are there.
func (s *legSet) names() (names []string) {
	for _, l := range s.legs {
		names = append(names, l.Name)
	}
	return names
}

// find returns which of some paths a person means: as it is, or as holdfast.toml
// has it.
func (s *legSet) find(name string, paths []string) (string, bool) {
	abs, _ := filepath.Abs(name)
	for _, path := range paths {
		if at, _ := filepath.Abs(path); name == path || under(s.dir, name) == path || abs == at {
			return path, true
		}
	}
	return "", false
}

// allNamed says whether as many absent legs as are missing are named as ones to do
// without, and no absent leg is not.
func (s *legSet) allNamed(lost []string, missing int) bool {
	for _, path := range s.paths {
		if !slices.Contains(lost, path) {
			return false
		}
	}
	return missing <= len(s.paths)
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
