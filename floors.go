package holdfast

import (
	"errors"
	"fmt"
	"sync"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/mirror"
	"holdfast.dev/holdfast/volume"
)

// floors are the layers of an open pool from the mirror upwards; each stands on
// the one before it, and they are opened in that order.
type floors struct {
	mirror *mirror.Mirror
	table  *volume.Table
	cache  *cache.Cache
	// stability is the policy of a volume.
	stability func(volume string) cache.Stability

	volumes struct {
		sync.Mutex
		mapped []mapped // in the order of their creation
	}
}

// mapped is a volume of an open pool and its cache. The pool syncs through a
// handle of its own.
type mapped struct {
	vol     *volume.Volume
	mapping *cache.Mapping
	handle  *cache.Handle
}

// openTable opens the table of volumes on the mirror.
func (f *floors) openTable() (err error) {
	f.table, err = volume.Open(f.mirror)
	return err
}

// openCache puts a cache before the volumes in the table, and lets the mirror
// begin its background work.
func (f *floors) openCache(o cache.Options, stability func(volume string) cache.Stability) (err error) {
	f.stability = stability
	if f.cache, err = cache.New(o); err != nil {
		return err
	}
	for _, v := range f.table.Volumes() {
		if err := f.mapVolume(v); err != nil {
			return err
		}
	}
	f.mirror.SetOwner(owner{f})
	f.mirror.Start()
	return nil
}

// mapVolume puts the cache before v.
func (f *floors) mapVolume(v *volume.Volume) error {
	mapping, err := f.cache.Map(v, cache.MappingOptions{Name: v.Name(), Stability: f.stability(v.Name())})
	if err != nil {
		return fmt.Errorf("volume %s: %w", v.Name(), err)
	}
	handle, err := mapping.Open()
	if err != nil {
		return fmt.Errorf("volume %s: %w", v.Name(), err)
	}
	f.volumes.Lock()
	defer f.volumes.Unlock()
	f.volumes.mapped = append(f.volumes.mapped, mapped{v, mapping, handle})
	return nil
}

// all returns the volumes of the moment.
func (f *floors) all() []mapped {
	f.volumes.Lock()
	defer f.volumes.Unlock()
	return append([]mapped(nil), f.volumes.mapped...)
}

// find returns the first volume for which is holds.
func (f *floors) find(is func(mapped) bool) (mapped, bool) {
	f.volumes.Lock()
	defer f.volumes.Unlock()
	for _, m := range f.volumes.mapped {
		if is(m) {
			return m, true
		}
	}
	return mapped{}, false
}

// close syncs and closes what has been opened, from above.
func (f *floors) close() error {
	var err error
	if f.cache != nil {
		err = f.cache.Close()
	}
	return errors.Join(err, f.mirror.Close())
}
