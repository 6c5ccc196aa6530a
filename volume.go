package holdfast

import (
	"errors"
	"fmt"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/device"
)

// Volume is an open volume: a range of bytes that is written to memory at once
// and to the legs later, or by Sync. Its methods may be called from many
// goroutines at once.
//
// Each Volume is told of a failed write-out once, by its next Sync, whoever
// wrote what failed.
type Volume struct {
	name   string
	handle *cache.Handle
}

// Volume opens the named volume. Several may be open at once; all see the same
// bytes.
func (p *Pool) Volume(name string) (*Volume, error) {
	m, err := p.find(name)
	if err != nil {
		return nil, err
	}
	h, err := m.mapping.Open()
	if err != nil {
		return nil, err
	}
	return &Volume{name: name, handle: h}, nil
}

func (p *Pool) find(name string) (mapped, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.closed {
		return mapped{}, fmt.Errorf("pool %s: %w", p.dir, ErrClosed)
	}
	m, ok := p.floors.find(func(m mapped) bool { return m.vol.Name() == name })
	if !ok {
		return mapped{}, fmt.Errorf("%w: %q in %s", ErrNotFound, name, p.dir)
	}
	return m, nil
}

// Volumes lists the names of the pool's volumes in the order of their creation.
func (p *Pool) Volumes() []string {
	var names []string
	for _, m := range p.all() {
		names = append(names, m.vol.Name())
	}
	return names
}

// CreateVolume makes a volume that reads as zeros. size must be a multiple of
// 4096.
func (p *Pool) CreateVolume(name string, size int64) error {
	v, err := p.table.Create(name, size)
	if err != nil {
		return err
	}
	return p.mapVolume(v)
}

// Sync makes everything durable that was written to any volume by a call that
// had returned.
func (p *Pool) Sync() error {
	var all []error
	for _, m := range p.all() {
		if err := m.handle.Sync(); err != nil {
			all = append(all, fmt.Errorf("volume %s: %w", m.vol.Name(), err))
		}
	}
	return errors.Join(all...)
}

// Name is the volume's name.
func (v *Volume) Name() string { return v.name }

// Size is the volume's size in bytes.
func (v *Volume) Size() int64 { return v.handle.Size() }

// ReadAt reads len(p) bytes at off. It fails whole with ErrOutOfRange if they
// reach beyond the end.
func (v *Volume) ReadAt(p []byte, off int64) (int, error) { return v.handle.ReadAt(p, off) }

// WriteAt writes p at off. When it returns, every reader sees the bytes; they
// are durable after a Sync that begins then. If the pool has no room for a page
// it fails with ErrNoSpace, and n says how many bytes were written before it.
func (v *Volume) WriteAt(p []byte, off int64) (int, error) { return v.handle.WriteAt(p, off) }

// Discard makes [off, off+n) read as zeros and gives its space back.
func (v *Volume) Discard(off, n int64) error { return v.handle.Discard(off, n) }

// WriteZeroes makes [off, off+n) read as zeros and keeps its space.
func (v *Volume) WriteZeroes(off, n int64) error { return v.handle.WriteZeroes(off, n) }

// Sync makes everything durable that was written to the volume, through any
// Volume of that name, by a call that had returned. An error says that some of it
// may not be; it is kept in memory and tried again.
func (v *Volume) Sync() error { return v.handle.Sync() }

// SyncRange is Sync for [off, off+n).
func (v *Volume) SyncRange(off, n int64) error { return v.handle.SyncRange(off, n) }

// Extents calls yield for the parts of [off, off+n) that are data and that are
// holes, ascending, until yield returns false.
func (v *Volume) Extents(off, n int64, yield func(Extent) bool) error {
	return v.handle.Extents(off, n, yield)
}

// Extent is a range of a volume that is all data or all hole.
type Extent = device.Extent

// Close ends this use of the volume. It syncs nothing: what was written stays in
// the pool's memory, and reaches the legs. It waits for calls that are under way,
// and for pins and holds to be released.
func (v *Volume) Close() error { return v.handle.Close() }
