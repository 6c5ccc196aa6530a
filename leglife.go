package holdfast

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/config"
	"holdfast.dev/holdfast/mirror"
)

// The methods below change which legs a pool has while it serves. A leg is meant
// by its path, as Status or holdfast.toml has it, or by its UUID. holdfast.toml
// is changed with the pool, after it.

// FailLeg takes a leg out of use and closes its device. What it misses is
// remembered until it is attached. The last leg in sync is never given up.
func (p *Pool) FailLeg(leg string) error {
	return p.changeLegs(func(c *legChange) error {
		l, err := c.find(leg)
		if err != nil {
			return err
		}
		return p.mirror.Fail(l.UUID)
	})
}

// AttachLeg brings a failed leg back. What it misses is copied to it while the
// pool serves, and then it is in sync. A leg that went on without the others is
// refused unless forced; what only it holds is lost then.
func (p *Pool) AttachLeg(leg string, force bool) error {
	return p.changeLegs(func(c *legChange) error {
		var path string
		if l, err := c.find(leg); err == nil {
			if l.State != mirror.Failed.String() {
				return fmt.Errorf("%w: leg %s is %s", ErrLegState, l.Name, l.State)
			}
			if err := p.letGo(l); err != nil {
				return err
			}
			path = l.Name
		} else if path, err = c.inPool(leg); err != nil {
			return err
		}
		f, err := openLeg(path, &p.settings, device.FileOptions{})
		if err != nil {
			return err
		}
		if err := p.mirror.Attach(mirror.Leg{Name: path, Dev: f}, force); err != nil {
			return errors.Join(err, f.Close())
		}
		return c.name("", path)
	})
}

// AddLeg makes a device, or a file, which is made if there is none, a further leg
// and fills it while the pool serves.
func (p *Pool) AddLeg(path string) error {
	return p.changeLegs(func(c *legChange) (err error) {
		if path, err = c.inPool(path); err != nil {
			return err
		}
		if err := c.prepare(path, p.mirror.Add); err != nil {
			return err
		}
		return c.name("", path)
	})
}

// ReplaceLeg puts a device or file in the place of a leg that has failed and
// fills it while the pool serves. An empty path means the same device: nothing
// that it holds counts any more.
func (p *Pool) ReplaceLeg(leg, path string) error {
	return p.changeLegs(func(c *legChange) error {
		l, err := c.find(leg)
		if err != nil {
			return err
		}
		if path != "" {
			if path, err = c.inPool(path); err != nil {
				return err
			}
		}
		put := func(given mirror.Leg) error { return p.mirror.Replace(l.UUID, given) }
		if path != "" && path != l.Name {
			if err := c.prepare(path, put); err != nil {
				return err
			}
			return c.name(l.Name, path)
		}
		if l.State != mirror.Failed.String() {
			return put(mirror.Leg{Name: l.Name}) // says why not
		}
		if err := p.letGo(l); err != nil {
			return err
		}
		f, err := openLeg(l.Name, &p.settings, device.FileOptions{})
		if err != nil {
			return err
		}
		if err := put(mirror.Leg{Name: l.Name, Dev: f}); err != nil {
			return errors.Join(err, f.Close())
		}
		return nil
	})
}

// RemoveLeg takes a leg out of the pool for good. The last leg in sync is never
// given up.
func (p *Pool) RemoveLeg(leg string) error {
	return p.changeLegs(func(c *legChange) error {
		l, err := c.find(leg)
		if err != nil {
			return err
		}
		if err := p.mirror.Remove(l.UUID); err != nil {
			return err
		}
		return c.name(l.Name, "")
	})
}

// legChange is one change to a pool's legs.
type legChange struct {
	p    *Pool
	legs []LegStatus
}

func (p *Pool) changeLegs(f func(*legChange) error) error {
	p.changing.Lock()
	defer p.changing.Unlock()
	c := &legChange{p: p}
	for _, l := range p.mirror.Status().Legs {
		c.legs = append(c.legs, legStatus(l))
	}
	return explain(f(c))
}

// explain adds to a refusal what to type to have it done all the same.
func explain(err error) error {
	if choice := (*mirror.ChoiceError)(nil); errors.As(err, &choice) && errors.Is(err, ErrLegDiverged) {
		return fmt.Errorf("%w; to lose what only it holds: attach it with --force, or replace it with itself", err)
	}
	return err
}

// find returns the leg that a person means.
func (c *legChange) find(name string) (LegStatus, error) {
	abs, _ := filepath.Abs(name)
	var known []string
	for _, l := range c.legs {
		at, _ := filepath.Abs(l.Name)
		if strings.EqualFold(name, l.UUID) || name == l.Name || abs == at || under(c.p.dir, name) == l.Name {
			return l, nil
		}
		known = append(known, l.Name)
	}
	return LegStatus{}, fmt.Errorf("%w: %s; the pool has %s", ErrNoLeg, name, strings.Join(known, ", "))
}

// inPool returns a path as it follows from what holdfast.toml will say.
func (c *legChange) inPool(path string) (string, error) {
	name, err := nameLeg(c.p.dir, path)
	return under(c.p.dir, name), err
}

// letGo has the mirror close the device of a leg that has failed, so that it can
// be opened again: what was unplugged comes back as another.
func (p *Pool) letGo(l LegStatus) error {
	if !l.Present {
		return nil
	}
	return p.mirror.Fail(l.UUID)
}

// prepare opens a device that is to be a leg, or makes a file, and hands it over.
func (c *legChange) prepare(path string, over func(mirror.Leg) error) error {
	need := c.p.mirror.LegSize()
	err := device.CreateFile(path, need)
	made := err == nil
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("leg %w", err)
	}
	undo := func(err error) error {
		if made {
			return errors.Join(err, os.Remove(path))
		}
		return err
	}
	f, err := openLeg(path, &c.p.settings, device.FileOptions{})
	if err != nil {
		return undo(fmt.Errorf("leg %w", err))
	}
	if err = checkUnused(path, f); err == nil {
		err = over(mirror.Leg{Name: path, Dev: f})
	}
	if err != nil {
		return undo(errors.Join(err, f.Close()))
	}
	return nil
}

// name has holdfast.toml name a leg in the place of another; an empty path is
// none.
func (c *legChange) name(before, after string) error {
	p := c.p
	legs := slices.Clone(p.settings.Legs)
	at := slices.IndexFunc(legs, func(l string) bool { return before != "" && under(p.dir, l) == before })
	if after != "" {
		name, err := nameLeg(p.dir, after)
		if err != nil {
			return err
		}
		switch {
		case slices.Contains(legs, name):
		case at >= 0:
			legs[at] = name
		default:
			legs = append(legs, name)
		}
	} else if at >= 0 {
		legs = slices.Delete(legs, at, at+1)
	}
	if slices.Equal(legs, p.settings.Legs) {
		return nil
	}
	if err := config.SetLegs(p.dir, legs); err != nil {
		return fmt.Errorf("the pool's legs are changed, but %s is not: %w", under(p.dir, config.Name), err)
	}
	p.settings.Legs = legs
	return nil
}
