package volume

import (
	"sort"
	"sync/atomic"

	"github.com/google/uuid"
	"holdfast.dev/holdfast/device"
)

// Volume is a named part of a pool, and a device. It also owns the space of its
// pages: see the package comment about reservations.
type Volume struct {
	dev     device.Device
	name    string
	id      uuid.UUID
	size    int64
	extents []extent
	closed  atomic.Bool
}

var (
	_ device.Device    = (*Volume)(nil)
	_ device.Extenter  = (*Volume)(nil)
	_ device.Guarded   = (*Volume)(nil)
	_ device.Batched   = (*Volume)(nil)
	_ device.Scattered = (*Volume)(nil)
)

func newVolume(dev device.Device, r *record) *Volume {
	return &Volume{dev: dev, name: r.name, id: r.id, size: r.size, extents: r.extents}
}

// Name is what the volume is called, ID what it keeps whatever it is called.
func (v *Volume) Name() string { return v.name }

// ID identifies the volume among all volumes of all pools.
func (v *Volume) ID() uuid.UUID { return v.id }

// Size is the volume's size in bytes.
func (v *Volume) Size() int64 { return v.size }

// ReadAt reads from the volume.
func (v *Volume) ReadAt(p []byte, off int64) (int, error) {
	return v.transfer("read", p, off, device.Device.ReadAt)
}

// WriteAt writes to the volume.
func (v *Volume) WriteAt(p []byte, off int64) (int, error) {
	return v.transfer("write", p, off, device.Device.WriteAt)
}

// transfer applies op to the pool's runs behind [off, off+len(p)), in order.
func (v *Volume) transfer(name string, p []byte, off int64, op func(device.Device, []byte, int64) (int, error)) (int, error) {
	n := int64(len(p))
	if err := v.check(off, n); err != nil {
		return 0, v.fault(name, off, n, err)
	}
	done := int64(0)
	for i := v.find(off); done < n; i++ {
		e := v.extents[i]
		in := off + done - e.vol
		part := min(n-done, e.length-in)
		moved, err := op(v.dev, p[done:done+part], e.pool+in)
		if err != nil {
			return int(done) + moved, v.fault(name, off, n, err)
		}
		done += part
	}
	return int(done), nil
}

// WriteGuarded writes whole blocks to the volume and hands their sums on to the
// pool.
func (v *Volume) WriteGuarded(p []byte, off int64, sums []uint32) error {
	if off%BlockSize != 0 || len(p) != len(sums)*BlockSize {
		return v.fault("write", off, int64(len(p)), device.CheckGuards(p, off, sums))
	}
	return v.each("write", off, int64(len(p)), func(pool, vol, n int64) error {
		in := vol - off
		return device.WriteGuarded(v.dev, p[in:in+n], pool, sums[in/BlockSize:(in+n)/BlockSize])
	})
}

// WriteBatch has the pool write parts together. One that lies in two extents ends
// the batch: the caller writes it by itself.
func (v *Volume) WriteBatch(parts []device.Part) (int, error) {
	n, _, err := v.batch(parts, false)
	return n, err
}

// SyncBatch does the same, and may flush the pool if it takes all.
func (v *Volume) SyncBatch(parts []device.Part) (n int, synced bool, err error) {
	return v.batch(parts, true)
}

func (v *Volume) batch(parts []device.Part, flush bool) (n int, synced bool, err error) {
	b, ok := v.dev.(device.Batched)
	if !ok {
		return 0, false, nil
	}
	there := make([]device.Part, 0, len(parts))
	for _, p := range parts {
		n := int64(len(p.P))
		if err := v.check(p.Off, n); err != nil {
			return 0, false, v.fault("write", p.Off, n, err)
		}
		i := v.find(p.Off)
		if i == len(v.extents) || p.Off+n > v.extents[i].vol+v.extents[i].length {
			break
		}
		e := v.extents[i]
		p.Off += e.pool - e.vol
		there = append(there, p)
	}
	if flush && len(there) == len(parts) {
		n, synced, err = b.SyncBatch(there)
	} else {
		n, err = b.WriteBatch(there)
	}
	if err != nil {
		return n, false, v.fault("write", parts[0].Off, 0, err)
	}
	return n, synced, nil
}

// ReadScattered has the pool read parts together, one that lies in several extents
// as several.
func (v *Volume) ReadScattered(parts []device.Part) error {
	return v.scattered("read", parts, device.ReadScattered)
}

// WriteScattered has the pool write parts together, one that lies in several extents
// as several.
func (v *Volume) WriteScattered(parts []device.Part) error {
	return v.scattered("write", parts, device.WriteScattered)
}

// scattered applies op to the pool's runs behind parts.
func (v *Volume) scattered(name string, parts []device.Part, op func(device.Device, []device.Part) error) error {
	there := make([]device.Part, 0, len(parts))
	for _, p := range parts {
		n := int64(len(p.P))
		if p.Sums != nil && (p.Off%BlockSize != 0 || n != int64(len(p.Sums))*BlockSize) {
			return v.fault(name, p.Off, n, device.CheckGuards(p.P, p.Off, p.Sums))
		}
		err := v.each(name, p.Off, n, func(pool, vol, n int64) error {
			in := vol - p.Off
			piece := device.Part{P: p.P[in : in+n], Off: pool}
			if p.Sums != nil {
				piece.Sums = p.Sums[in/BlockSize : (in+n)/BlockSize]
			}
			there = append(there, piece)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := op(v.dev, there); err != nil {
		return v.fault(name, parts[0].Off, 0, err)
	}
	return nil
}

// Flush makes everything durable that returned before it was called.
func (v *Volume) Flush() error {
	if v.closed.Load() {
		return v.fault("flush", 0, 0, device.ErrClosed)
	}
	if err := v.dev.Flush(); err != nil {
		return v.fault("flush", 0, 0, err)
	}
	return nil
}

// Discard makes [off, off+n) read as zeros and tells the legs that its space is
// not needed. The space stays the volume's.
func (v *Volume) Discard(off, n int64) error {
	return v.each("discard", off, n, func(pool, _, n int64) error { return v.dev.Discard(pool, n) })
}

// WriteZeroes makes [off, off+n) read as zeros and keeps the legs' space.
func (v *Volume) WriteZeroes(off, n int64) error {
	return v.each("zero", off, n, func(pool, _, n int64) error { return v.dev.WriteZeroes(pool, n) })
}

// Extents lists data and holes of [off, off+n).
func (v *Volume) Extents(off, n int64, yield func(device.Extent) bool) error {
	more := true
	return v.each("extents", off, n, func(pool, vol, n int64) error {
		if !more {
			return nil
		}
		return device.Extents(v.dev, pool, n, func(e device.Extent) bool {
			e.Off += vol - pool
			more = yield(e)
			return more
		})
	})
}

// each calls op for the pool's runs behind [off, off+n), in order: offset in the
// pool, offset in the volume, length.
func (v *Volume) each(name string, off, n int64, op func(pool, vol, n int64) error) error {
	if err := v.check(off, n); err != nil {
		return v.fault(name, off, n, err)
	}
	end := off + n
	for i := v.find(off); off < end; i++ {
		e := v.extents[i]
		part := min(end, e.vol+e.length) - off
		if err := op(e.pool+off-e.vol, off, part); err != nil {
			return v.fault(name, off, part, err)
		}
		off += part
	}
	return nil
}

// find returns the index of the extent that holds off; len(extents) at the end.
func (v *Volume) find(off int64) int {
	return sort.Search(len(v.extents), func(i int) bool { return v.extents[i].vol+v.extents[i].length > off })
}

// Reserve is asked before a page of [off, off+n) first becomes dirty. A linear
// volume owns its space and agrees to any range of its own.
func (v *Volume) Reserve(off, n int64) error {
	if err := v.check(off, n); err != nil {
		return v.fault("reserve", off, n, err)
	}
	return nil
}

// OwnsSpace says that Reserve agrees to every page of the volume until Close.
func (v *Volume) OwnsSpace() bool { return true }

// Release says that [off, off+n), which Reserve agreed to, is not dirty any more.
// A linear volume set nothing aside.
func (v *Volume) Release(off, n int64) {}

// Close ends the use of the volume until its table is opened again. The device
// below stays open.
func (v *Volume) Close() error {
	if v.closed.Swap(true) {
		return v.fault("close", 0, 0, device.ErrClosed)
	}
	return nil
}

func (v *Volume) check(off, n int64) error {
	if v.closed.Load() {
		return device.ErrClosed
	}
	return device.CheckRange(v.size, off, n)
}

func (v *Volume) fault(op string, off, n int64, err error) error {
	return &device.OpError{Op: op, Name: "volume " + v.name, Off: off, Len: n, Err: err}
}
