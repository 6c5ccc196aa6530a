package mirror

import (
	"fmt"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/guard"
)

var _ device.Guarded = (*Mirror)(nil)

// WriteGuarded writes whole blocks with their sums, as they were when the bytes
// were copied in. If they do not fit nothing of their MiB is written.
func (m *Mirror) WriteGuarded(p []byte, off int64, sums []uint32) error {
	n := int64(len(p))
	if off%BlockSize != 0 || n != int64(len(sums))*BlockSize {
		return m.opError("write", off, n, fmt.Errorf("%w: %d sums for %d bytes at %d", ErrInvalid, len(sums), n, off))
	}
	if !m.guards.on() {
		if err := device.CheckGuards(p, off, sums); err != nil {
			return m.opError("write", off, n, err)
		}
		sums = nil
	}
	return m.write("write", opWrite, p, off, n, sums)
}

// writeGuarded does any operation that changes data of which each block has a
// guard: a block that is changed in part is read, checked, and written whole.
func (m *Mirror) writeGuarded(op legOp, p []byte, off, n int64) error {
	for n > 0 {
		k := n / BlockSize * BlockSize
		if skip := off % BlockSize; skip != 0 || k == 0 {
			k = min(BlockSize-skip, n)
			if err := m.writePart(head(p, k), off, k); err != nil {
				return err
			}
		} else if err := m.writeRuns(op, head(p, k), off, k, nil); err != nil {
			return err
		}
		off, n = off+k, n-k
		if p != nil {
			p = p[k:]
		}
	}
	return nil
}

// head is the first n bytes of p, if it has any.
func head(p []byte, n int64) []byte {
	if p == nil {
		return nil
	}
	return p[:n]
}

// writePart changes n bytes within a block; to zeros, if p is nil.
func (m *Mirror) writePart(p []byte, off, n int64) error {
	b := m.oneBlock.get()
	defer m.oneBlock.put(b)
	if err := m.patched(b[:], p, off, n); err != nil {
		return err
	}
	return m.writeRuns(opWrite, b[:], off/BlockSize*BlockSize, BlockSize, nil)
}

// writeRuns does an operation on whole blocks, as many at a time as have their
// guards in one block; all that have none to keep at once.
func (m *Mirror) writeRuns(op legOp, p []byte, off, n int64, sums []uint32) error {
	for n > 0 {
		k := min(n, guardSpan-off%guardSpan)
		var err error
		if whole := n / guardSpan * guardSpan; op != opWrite && off%guardSpan == 0 && whole > 0 {
			k = whole
			err = m.clearRun(op, off, k)
		} else {
			err = m.writeRun(op, head(p, k), off, k, sums)
		}
		if err != nil {
			return err
		}
		off, n = off+k, n-k
		if p != nil {
			p = p[k:]
		}
		if sums != nil {
			sums = sums[k/BlockSize:]
		}
	}
	return nil
}

// writeHome does an operation on whole blocks that have their guards in one
// block, and gives them tuples that they have already. Requires their regions
// begun, with durable bits.
func (m *Mirror) writeHome(op legOp, p []byte, off, n int64, tuples []guard.Tuple) error {
	if !m.guards.on() {
		return m.writeLegs(op, p, off, n)
	}
	b, err := m.guards.hold(off)
	if err != nil {
		return err
	}
	defer m.guards.drop(b)
	if err := m.writeLegs(op, p, off, n); err != nil {
		return err
	}
	m.guards.set(b, off, tuples)
	return nil
}

// writeRun does an operation on blocks that have their guards in one block. sums
// are what was handed over with the bytes, if anything was.
func (m *Mirror) writeRun(op legOp, p []byte, off, n int64, sums []uint32) error {
	b, err := m.guards.hold(off)
	if err != nil {
		return err
	}
	defer m.guards.drop(b)
	var own [tuplesPerBlock]uint32
	is := own[:n/BlockSize]
	if err := sumBlocks(is, p, off, sums); err != nil {
		return err
	}
	first, last := m.regions.span(off, n)
	if err := m.beginWrite(first, last); err != nil {
		return err
	}
	defer m.regions.end(first, last)
	if err := m.writeLegs(op, p, off, n); err != nil {
		return err
	}
	m.guards.wrote(b, off, is, p)
	return nil
}

// sumBlocks takes the sums of blocks, of zeros if p is nil, and checks them by those
// that were handed over, if any were.
func sumBlocks(is []uint32, p []byte, off int64, sums []uint32) error {
	for i := range is {
		is[i] = guard.ZeroSum
		if p != nil {
			is[i] = guard.Sum(p[i*BlockSize:][:BlockSize])
		}
		if sums != nil && is[i] != sums[i] {
			return device.CheckGuards(p[i*BlockSize:][:BlockSize], off+int64(i)*BlockSize, sums[i:i+1])
		}
	}
	return nil
}

// clearRun makes blocks read as zeros that have all the guards of some blocks of
// the guard area. These know nothing afterwards, so that giving back a whole
// disk does not write a 512th of it.
func (m *Mirror) clearRun(op legOp, off, n int64) error {
	first, last := m.regions.span(off, n)
	if err := m.beginWrite(first, last); err != nil {
		return err
	}
	defer m.regions.end(first, last)
	if err := m.writeLegs(op, nil, off, n); err != nil {
		return err
	}
	return m.guards.discard(off, n)
}
