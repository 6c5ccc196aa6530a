package volume

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/seam"
)

// Table is the table of volumes of one pool.
type Table struct {
	dev device.Device

	// update is held by whoever changes the table on the device.
	update struct {
		seam.Mutex
		// generation is the highest one that was written or tried.
		generation uint64
		// held is the generation last put in each copy, 0 if it is broken. A copy
		// whose write failed keeps its number, and so is the first to be
		// written again.
		held [slots]uint64
	}

	mu struct {
		seam.Mutex
		table   *table             // never changed in place
		volumes map[string]*Volume // one for each record of table
		spans   []placed           // ascending in the pool; never changed in place
	}
}

// placed is an extent and the volume that it belongs to.
type placed struct {
	extent
	v *Volume
}

// Span is a range of a volume, in bytes.
type Span struct {
	Vol      *Volume
	Off, Len int64
}

// publish makes next the table that Lookup, Volumes and Spans see. Volumes that
// were there keep their *Volume.
func (t *Table) publish(next *table) {
	t.mu.Lock()
	defer t.mu.Unlock()
	volumes := make(map[string]*Volume, len(next.records))
	var spans []placed
	for i := range next.records {
		r := &next.records[i]
		v := t.mu.volumes[r.name]
		if v == nil {
			v = newVolume(t.dev, r)
		}
		volumes[r.name] = v
		for _, e := range r.extents {
			spans = append(spans, placed{e, v})
		}
	}
	slices.SortFunc(spans, func(a, b placed) int { return cmp.Compare(a.pool, b.pool) })
	t.mu.table, t.mu.volumes, t.mu.spans = next, volumes, spans
}

// Create makes a volume that reads as zeros. Size must be a multiple of
// BlockSize. If Create fails, the volume may be there at the next Open.
func (t *Table) Create(name string, size int64) (*Volume, error) {
	if err := errors.Join(CheckName(name), checkSize(size)); err != nil {
		return nil, err
	}
	t.update.Lock()
	defer t.update.Unlock()
	old := t.current()
	var used []extent
	for i := range old.records {
		if old.records[i].name == name {
			return nil, fmt.Errorf("%w: %q", ErrExists, name)
		}
		used = append(used, old.records[i].extents...)
	}
	extents, err := allocate(used, t.dev.Size(), size)
	if err != nil {
		return nil, fmt.Errorf("volume %q: %w", name, err)
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return nil, fmt.Errorf("volume %q: %w", name, err)
	}
	next := *old
	next.records = append(slices.Clone(old.records), record{name: name, id: id, size: size, extents: extents})
	if _, err := next.encode(); err != nil {
		return nil, fmt.Errorf("volume %q: %w", name, err)
	}
	if err := t.clear(extents); err != nil {
		return nil, fmt.Errorf("volume %q: clearing its space: %w", name, err)
	}
	if err := t.store(&next); err != nil {
		return nil, fmt.Errorf("volume %q: %w", name, err)
	}
	t.publish(&next)
	return t.Lookup(name)
}

// clear makes extents read as zeros, durably (invariant 4). Requires t.update.
func (t *Table) clear(extents []extent) error {
	for _, e := range extents {
		if err := t.dev.Discard(e.pool, e.length); err != nil {
			return err
		}
	}
	return t.dev.Flush()
}

func (t *Table) current() *table {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.table
}

// Lookup returns the volume of that name. It is the same *Volume every time.
func (t *Table) Lookup(name string) (*Volume, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if v := t.mu.volumes[name]; v != nil {
		return v, nil
	}
	return nil, fmt.Errorf("%w: %q", ErrNotFound, name)
}

// Volumes returns all volumes in the order of their creation.
func (t *Table) Volumes() []*Volume {
	t.mu.Lock()
	defer t.mu.Unlock()
	vs := make([]*Volume, len(t.mu.table.records))
	for i := range vs {
		vs[i] = t.mu.volumes[t.mu.table.records[i].name]
	}
	return vs
}

// Spans returns the parts of volumes that lie in [off, off+n) of the pool,
// ascending in the pool. The table and free space belong to no volume. It never
// waits for a device.
func (t *Table) Spans(off, n int64) []Span {
	if n <= 0 {
		return nil
	}
	t.mu.Lock()
	all := t.mu.spans
	t.mu.Unlock()
	i, _ := slices.BinarySearchFunc(all, off, func(p placed, off int64) int {
		return cmp.Compare(p.pool+p.length-1, off)
	})
	var got []Span
	for ; i < len(all) && all[i].pool-off < n; i++ {
		p := all[i]
		from, to := max(off, p.pool), p.pool+p.length
		if to-off > n {
			to = off + n
		}
		got = append(got, Span{Vol: p.v, Off: p.vol + from - p.pool, Len: to - from})
	}
	return got
}
