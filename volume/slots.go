package volume

import (
	"errors"
	"fmt"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/invariants"
	"holdfast.dev/holdfast/internal/seam"
)

// Format writes an empty table to d. Volumes that d held are gone.
func Format(d device.Device) error {
	if d.Size() < PoolSize(BlockSize) {
		return fmt.Errorf("%w: a pool of %d bytes holds no volume: it needs at least %d",
			ErrNoSpace, d.Size(), PoolSize(BlockSize))
	}
	t := &Table{dev: d}
	t.update.Lock()
	defer t.update.Unlock()
	return t.store(&table{})
}

// Open reads the table of d. A copy that is broken or behind is written afresh
// from the other.
func Open(d device.Device) (*Table, error) {
	t := &Table{dev: d}
	best, _, err := t.load()
	if err != nil {
		return nil, err
	}
	t.publish(best)
	t.update.Lock()
	defer t.update.Unlock()
	if t.update.held[0] != t.update.held[1] {
		if err := t.store(best); err != nil {
			return nil, fmt.Errorf("repairing the volume table: %w", err)
		}
	}
	return t, nil
}

// Check reads the table of d without writing. It fails if the table cannot be
// used, and otherwise returns what is wrong with one copy, if anything is.
func Check(d device.Device) (warning, err error) {
	t := &Table{dev: d}
	_, warning, err = t.load()
	return warning, err
}

// load reads both copies and returns the later one, and what is wrong with the
// other.
func (t *Table) load() (best *table, warning, err error) {
	var bad [slots]error
	for i := range slots {
		got, err := t.loadSlot(i)
		if errors.Is(err, ErrUnsupported) {
			// The other copy may be of this format and older: to serve it
			// would undo what the later release did.
			return nil, nil, err
		}
		if err != nil {
			bad[i] = err
			continue
		}
		t.update.held[i] = got.generation
		if best == nil || got.generation > best.generation {
			best = got
		}
	}
	if best == nil {
		return nil, nil, noCopy(bad)
	}
	t.update.generation = best.generation
	return best, errors.Join(bad[:]...), nil
}

func noCopy(bad [slots]error) error {
	return fmt.Errorf("neither copy of the volume table can be used: %w; %w; restore the legs from a backup", bad[0], bad[1])
}

// loadSlot reads copy i.
func (t *Table) loadSlot(i int) (*table, error) {
	at := int64(i) * slotSize
	b := make([]byte, slotSize)
	if _, err := t.dev.ReadAt(b, at); err != nil {
		return nil, fmt.Errorf("copy %d: %w", i+1, err)
	}
	got, err := decode(b, t.dev.Size())
	if err != nil {
		return nil, fmt.Errorf("copy %d (at %d of the pool): %w", i+1, at, err)
	}
	return got, nil
}

// store writes next to both copies, the older first (invariants 2 and 3), and
// gives it the next generation. Requires t.update.
func (t *Table) store(next *table) error {
	if t.update.generation++; t.update.generation+1 == 0 {
		return corrupt("its generation has run out")
	}
	next.generation = t.update.generation
	b, err := next.encode()
	if err != nil {
		return err
	}
	if invariants.Enabled {
		back, err := decode(b, t.dev.Size())
		invariants.Check(err == nil && back.generation == next.generation, "volume: an encoded table reads back as %v", err)
	}
	first := 0
	if t.update.held[1] < t.update.held[0] {
		first = 1
	}
	for _, i := range [slots]int{first, 1 - first} {
		seam.Point("volume.store", uint64(i))
		if _, err := t.dev.WriteAt(b, int64(i)*slotSize); err != nil {
			return fmt.Errorf("volume table, copy %d: %w", i+1, err)
		}
		seam.Point("volume.flush", uint64(i))
		if err := t.dev.Flush(); err != nil {
			return fmt.Errorf("volume table, copy %d: %w", i+1, err)
		}
		t.update.held[i] = next.generation
	}
	return nil
}
