package holdfast

import (
	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/volume"
)

// owner answers the region log's questions about a range of the pool by asking
// the caches of the volumes that lie in it. The volume table has no cache, so
// its range is always quiet, and so is a volume that nobody has mapped yet.
type owner struct{ f *floors }

// SyncRange makes what is dirty above [off, off+n) reach the mirror.
func (o owner) SyncRange(off, n int64) error {
	for _, s := range o.f.table.Spans(off, n) {
		if m := o.mapping(s.Vol); m != nil {
			if err := m.SyncRange(s.Off, s.Len); err != nil {
				return err
			}
		}
	}
	return nil
}

// Quiet says whether nothing above [off, off+n) can change the mirror without a
// write that has yet to begin.
func (o owner) Quiet(off, n int64) bool {
	for _, s := range o.f.table.Spans(off, n) {
		if m := o.mapping(s.Vol); m != nil && !m.Quiet(s.Off, s.Len) {
			return false
		}
	}
	return true
}

func (o owner) mapping(v *volume.Volume) *cache.Mapping {
	m, _ := o.f.find(func(m mapped) bool { return m.vol == v })
	return m.mapping
}
