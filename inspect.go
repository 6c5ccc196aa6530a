package holdfast

import (
	"errors"
	"slices"
	"strings"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/mirror"
	"holdfast.dev/holdfast/volume"
)

// Inspect returns the status of a pool that nobody has open. It changes nothing
// on the legs. It fails for the reasons for which Open would fail.
func Inspect(dir string) (s Status, err error) {
	var absent error
	err = withStopped(dir, func(p *Pool, set legSet) error {
		// What cannot be read of it whoever serves the pool is told.
		past, _ := loadPast(dir)
		return inspect(set, past, func(m *mirror.Mirror) error {
			table, err := volume.Open(m)
			if err != nil {
				return err
			}
			s, absent = p.status(m.Status(), table), set.absent
			return nil
		})
	})
	s.judge()
	if absent != nil && s.Degraded() {
		s.Message = oneLine(absent) + "; " + s.Message
	}
	return s, err
}

// Report is what Check found.
type Report struct {
	mirror.Report
}

// Check looks at a pool that nobody has open: superblocks, region log, that the
// legs are equal outside dirty regions, and the volume table. It changes nothing.
// What is wrong with the pool is in the report; the error says why it could not
// be looked at.
func Check(dir string) (r Report, err error) {
	err = withStopped(dir, func(p *Pool, set legSet) error {
		r.Report, err = mirror.Check(set.legs)
		if err != nil {
			return err
		}
		err := inspect(set, mirror.Past{}, func(m *mirror.Mirror) error {
			warning, err := volume.Check(m)
			return errors.Join(warning, err)
		})
		// Why the legs make no pool the mirror's report says already.
		if err != nil && !slices.Contains(r.Problems, err.Error()) {
			r.Problems = append(r.Problems, oneLine(err))
		}
		if err == nil && set.absent != nil {
			r.Problems = append(r.Problems, oneLine(set.absent))
		}
		return nil
	})
	return r, err
}

// oneLine is an error, which may be several, on one line.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// withStopped locks dir, opens its legs for reading, calls f, and undoes both.
func withStopped(dir string, f func(*Pool, legSet) error) error {
	settings, err := loadSettings(dir)
	if err != nil {
		return err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	set, err := openLegs(dir, &settings, device.FileOptions{ReadOnly: true})
	if err == nil {
		p := &Pool{dir: dir, settings: settings}
		err = errors.Join(f(p, set), closeLegs(set.legs))
	}
	return errors.Join(err, lock.release())
}

// inspect opens the mirror over overlays of the legs, which stay open, and calls
// f with it.
func inspect(set legSet, past mirror.Past, f func(*mirror.Mirror) error) error {
	over := make([]mirror.Leg, len(set.legs))
	for i, l := range set.legs {
		over[i] = mirror.Leg{Name: l.Name, Dev: newOverlay(l.Dev)}
	}
	m, err := set.open(over, mirror.Options{Manual: true, Past: past})
	if err != nil {
		return err
	}
	defer m.Abandon()
	return f(m)
}
