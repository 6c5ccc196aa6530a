package holdfast

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/config"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/mirror"
	"holdfast.dev/holdfast/volume"
)

// Create makes a pool in dir, which is made if it is absent: its legs, a volume,
// and holdfast.toml. Nothing that holds data is overwritten. If it fails, what it
// made is removed.
func Create(dir string, o CreateOptions) (err error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return err
	}
	kind, err := guard.Parse(o.Guards)
	if err != nil {
		return fmt.Errorf("%w: guards: %w", ErrSettings, err)
	}
	c := &creation{dir: dir, o: o, guards: kind}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.undo())
		}
	}()
	if err := c.claim(); err != nil {
		return err
	}
	if err := c.prepareLegs(); err != nil {
		return err
	}
	if err := c.format(); err != nil {
		return err
	}
	// The settings come last: they are what makes a directory a pool.
	settings := o.config(c.names)
	if err := config.Write(dir, settings); err != nil {
		return err
	}
	return c.lock.release()
}

// creation is a pool in the making.
type creation struct {
	dir    string
	o      CreateOptions
	lock   *dirLock
	legs   []mirror.Leg
	guards guard.Kind
	names  []string // of legs, as holdfast.toml names them
	made   []string // files and directories to remove if it fails
}

// claim makes the directory and locks it.
func (c *creation) claim() error {
	if err := os.Mkdir(c.dir, 0o755); err == nil {
		c.made = append(c.made, c.dir)
	} else if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making the pool's directory: %w", err)
	}
	lock := filepath.Join(c.dir, lockName)
	if _, err := os.Lstat(lock); errors.Is(err, fs.ErrNotExist) {
		c.made = append(c.made, lock)
	}
	l, err := lockDir(c.dir)
	if err != nil {
		return err
	}
	c.lock = l
	path := filepath.Join(c.dir, config.Name)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s is there; use another directory, or remove it with its legs", ErrPoolExists, path)
	}
	return nil
}

// prepareLegs opens the legs and makes those that are not there.
func (c *creation) prepareLegs() error {
	for _, path := range c.o.Legs {
		f, err := c.prepareLeg(path)
		if f != nil {
			c.legs = append(c.legs, mirror.Leg{Name: path, Dev: f})
		}
		if err != nil {
			return err
		}
		name, err := nameLeg(c.dir, path)
		if err != nil {
			return err
		}
		c.names = append(c.names, name)
	}
	return nil
}

// prepareLeg opens or makes one leg, and refuses one that is too small or may
// hold something of value.
func (c *creation) prepareLeg(path string) (*device.File, error) {
	err := device.CreateFile(path, c.legSize())
	fresh := err == nil
	if fresh {
		c.made = append(c.made, path)
	} else if !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("leg %w", err)
	}
	f, err := device.OpenFile(path, device.FileOptions{})
	if err != nil {
		return nil, fmt.Errorf("leg %w", err)
	}
	if fresh {
		return f, nil
	}
	if err := checkUnused(path, f); err != nil {
		return f, err
	}
	if need := c.legSize(); c.o.Size > 0 && f.Size() < need {
		return f, fmt.Errorf("%w: %s has %d bytes, a volume of %d needs %d; use a larger leg or a smaller size",
			ErrLegTooSmall, path, f.Size(), c.o.Size, need)
	}
	return f, nil
}

// legSize is how large a leg must be, and is made.
func (c *creation) legSize() int64 {
	if c.o.LegSize > 0 {
		return c.o.LegSize
	}
	return mirror.LegSizeWith(volume.PoolSize(c.o.Size), c.o.Journal)
}

// nameLeg returns how holdfast.toml names a leg: relative to the pool's directory
// if it lies there, so that the two can be moved together.
func nameLeg(pool, path string) (string, error) {
	leg, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	dir, err := filepath.Abs(pool)
	if err != nil {
		return "", err
	}
	if rel, ok := strings.CutPrefix(leg, dir+string(filepath.Separator)); ok {
		return rel, nil
	}
	return leg, nil
}

// format writes superblocks, the volume table and the first volume, and closes
// the legs.
func (c *creation) format() error {
	legs := c.legs
	if err := mirror.Format(legs, mirror.FormatOptions{Guards: c.guards, Journal: c.o.Journal}); err != nil {
		return err
	}
	m, err := mirror.Open(legs, mirror.Options{})
	if err != nil {
		return err
	}
	c.legs = nil // the mirror's from here on
	return errors.Join(c.formatVolume(m), m.Close())
}

func (c *creation) formatVolume(m *mirror.Mirror) error {
	if err := volume.Format(m); err != nil {
		return err
	}
	table, err := volume.Open(m)
	if err != nil {
		return err
	}
	size := c.o.Size
	if size == 0 {
		size = (m.Size() - volume.TableSize) / volume.ExtentAlign * volume.ExtentAlign
	}
	_, err = table.Create(c.o.Volume, size)
	return err
}

// undo removes what was made, last first.
func (c *creation) undo() error {
	all := []error{closeLegs(c.legs)}
	if c.lock != nil {
		all = append(all, c.lock.release())
	}
	for i := len(c.made) - 1; i >= 0; i-- {
		if err := os.Remove(c.made[i]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}
