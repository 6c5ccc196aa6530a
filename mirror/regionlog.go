package mirror

import (
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/invariants"
	"holdfast.dev/holdfast/internal/seam"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// regionLog is the log as it is being written to the legs. Only the task that
// set regions.committing touches it.
type regionLog struct {
	m *Mirror
	// dirty are the blocks to be written, with bits what is to stand in them.
	dirty []int
	bits  []ondisk.LogBits
}

// ensure returns when the bits of the regions are durable on every leg that is
// in sync or joining.
// Whoever finds nobody writing writes for all who wait.
func (m *Mirror) ensure(first, last int) error {
	rs := m.regions
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for !rs.durable(first, last) {
		if rs.committing {
			rs.turn.Wait()
			continue
		}
		if err := m.commit(0); err != nil {
			return err
		}
	}
	return nil
}

// durable says whether the log has all these bits. Requires rs.mu.
func (rs *regions) durable(first, last int) bool {
	for i := first; i <= last; i++ {
		if !hasBit(rs.disk, i) {
			return false
		}
	}
	return true
}

// syncLog makes the log as it is wanted.
func (m *Mirror) syncLog() error { return m.syncLogTo(0) }

// syncLogTo does it on further legs, and for their sake writes every block.
func (m *Mirror) syncLogTo(extra legMask) error {
	rs := m.regions
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for rs.committing {
		rs.turn.Wait()
	}
	return m.commit(extra)
}

// commit writes every log block whose bits are not as wanted to the legs in
// sync or joining, and flushes them. It releases rs.mu meanwhile. Requires rs.mu and that
// nobody else commits. With extra legs every block is written, to them too.
func (m *Mirror) commit(extra legMask) error {
	rs, log := m.regions, &m.log
	log.stage(rs, extra != 0)
	if len(log.dirty) == 0 {
		return nil
	}
	rs.committing = true
	rs.mu.Unlock()
	ok, cause := m.onLegs(m.roll().targets()|extra, opLog, nil, 0, 0)
	err := m.settle(ok, cause)
	if err != nil {
		m.lostFlush(err)
	}
	rs.mu.Lock()
	rs.committing = false
	rs.turn.Broadcast()
	if err == nil {
		log.landed(rs)
	}
	if err == nil && extra&^ok != 0 {
		return cause
	}
	return err
}

// stage takes what is to be written: every block, or those that differ. A bit that is about to be cleared stops
// being durable here: whoever wants it back must wait for the write after this
// one. Requires rs.mu.
func (log *regionLog) stage(rs *regions, all bool) {
	log.dirty = log.dirty[:0]
	for b := range log.bits {
		want, disk := rs.block(b)
		if !all && *want == *disk {
			continue
		}
		log.dirty = append(log.dirty, b)
		log.bits[b] = *want
		for i := range disk {
			disk[i] &= want[i]
		}
	}
}

// landed notes that what was staged is durable. Requires rs.mu.
func (log *regionLog) landed(rs *regions) {
	for _, b := range log.dirty {
		_, disk := rs.block(b)
		if invariants.Enabled {
			for i := range disk {
				invariants.Check(disk[i]&^log.bits[b][i] == 0, "log block %d lost bits that were durable", b)
			}
		}
		*disk = log.bits[b]
	}
}

// block returns a log block's part of the wanted and the durable bits.
// Requires rs.mu.
func (rs *regions) block(b int) (want, disk *ondisk.LogBits) {
	at := b * ondisk.LogWords
	return (*ondisk.LogBits)(rs.want[at:]), (*ondisk.LogBits)(rs.disk[at:])
}

// write writes what was staged to a leg, each block into the slot that does
// not hold its newest version, and flushes. Only then do the sequence numbers
// move on: a slot whose write failed is used again.
func (log *regionLog) write(l *leg) error {
	if l.isAbsent() {
		return errAbsent // it was taken out of use under the caller
	}
	for _, b := range log.dirty {
		seq := l.seq[b] + 1
		ondisk.EncodeLogBlock(l.logBuf, log.m.pool, b, seq, &log.bits[b])
		at := log.m.geo.LogOff() + ondisk.LogSlotOffset(b, seq)
		seam.Point("mirror.log", uint64(at))
		if err := writeFull(l, l.logBuf, at); err != nil {
			return err
		}
	}
	if err := l.flush(); err != nil {
		return err
	}
	for _, b := range log.dirty {
		l.seq[b]++
	}
	return nil
}

// readLog reads a leg's region log into bits, where its bits are added to what
// is there, and notes the sequence numbers. A block of which neither slot can
// be read counts as all ones, and its index is returned.
func (l *leg) readLog(g *ondisk.Geometry, bits []uint64) (lost []int) {
	n := ondisk.LogBlocks(g.Regions())
	l.seq = make([]uint64, n)
	l.logBuf = device.Aligned(BlockSize)
	// One read takes as long as that of a few blocks; where it fails, each slot
	// that can be read by itself counts.
	whole := device.Aligned(n * 2 * BlockSize)
	_, broken := l.dev.ReadAt(whole, g.LogOff())
	for b := range n {
		var best ondisk.LogBits
		for slot := range 2 {
			var found ondisk.LogBits
			at := ondisk.LogSlotOffset(b, uint64(slot))
			buf := whole[at:][:BlockSize]
			if broken != nil {
				if _, err := l.dev.ReadAt(buf, g.LogOff()+at); err != nil {
					continue
				}
			}
			seq, err := ondisk.DecodeLogBlock(buf, l.sb.Pool, b, slot, &found)
			if err == nil && seq > l.seq[b] {
				l.seq[b], best = seq, found
			}
		}
		if l.seq[b] == 0 {
			lost = append(lost, b)
			for i := range best {
				best[i] = ^uint64(0)
			}
		}
		for i, w := range best {
			bits[b*ondisk.LogWords+i] |= w
		}
	}
	trimBits(bits, g.Regions())
	return lost
}

// trimBits clears the bits past the last region.
func trimBits(bits []uint64, n int) {
	for i := n; i < len(bits)*64; i++ {
		if i&63 == 0 {
			clear(bits[i/64:])
			return
		}
		clearBit(bits, i)
	}
}
