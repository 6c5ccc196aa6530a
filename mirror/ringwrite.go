package mirror

import (
	"errors"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/internal/mutant"
	"holdfast.dev/holdfast/internal/rangelock"
	"holdfast.dev/holdfast/journal"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

var _ device.Batched = (*Mirror)(nil)

// noRoom says whether an error is that the ring takes no transaction before it
// has been emptied.
func noRoom(err error) bool {
	return errors.Is(err, journal.ErrFull) || errors.Is(err, journal.ErrBroken)
}

// WriteBatch writes small parts to the journal, as many at a time as fit a
// transaction. It leaves to the caller what is not small, and all if the journal
// has no room: then a write home costs no more than the making of room would.
func (m *Mirror) WriteBatch(parts []device.Part) (done int, err error) {
	done, _, err = m.batches(parts, false)
	return done, err
}

// SyncBatch has the legs write the last transaction and flush in one turn, unless
// somebody else is at the journal, or at a flush.
func (m *Mirror) SyncBatch(parts []device.Part) (done int, synced bool, err error) {
	return m.batches(parts, true)
}

func (m *Mirror) batches(parts []device.Part, flush bool) (done int, synced bool, err error) {
	if m.ring.j == nil || m.ring.mode == JournalNever {
		return 0, false, nil
	}
	for done < len(parts) {
		var n int
		n, synced, err = m.batch(parts[done:], flush)
		if noRoom(err) || err == nil && n == 0 {
			return done, false, nil
		}
		if err != nil {
			p := &parts[done]
			return done, false, m.opError("write", p.Off, int64(len(p.P)), err)
		}
		done += n
	}
	return done, synced, nil
}

// small says whether a part of a batch goes to the ring.
func (m *Mirror) small(p *device.Part) bool {
	n := int64(len(p.P))
	limit := int64(smallWrite)
	if m.ring.mode == JournalAlways {
		limit = batchWrite
	}
	// What is less than a block has to be read first: with guards in any case.
	return n > 0 && n <= limit && (m.guards.on() || p.Off%BlockSize == 0 && n%BlockSize == 0)
}

// blocksIn is how many blocks the first parts touch, as far as a transaction takes
// them.
func (m *Mirror) blocksIn(parts []device.Part) (blocks int) {
	for i := range parts {
		p := &parts[i]
		if blocks >= journal.MaxEntries || !m.small(p) {
			break
		}
		blocks += int((p.Off+int64(len(p.P))-1)/BlockSize-p.Off/BlockSize) + 1
	}
	return blocks
}

// batch writes the first parts in one transaction, as many as it takes, and
// returns how many. It waits for the range of the first alone: who holds one may
// not wait for another. If it takes all it flushes too, if it is to and can at once.
func (m *Mirror) batch(parts []device.Part, flush bool) (n int, synced bool, err error) {
	x := m.ring.j.Begin(m.blocksIn(parts))
	var few [16]*rangelock.Held
	held := few[:0]
	defer func() {
		for _, h := range held {
			m.ranges.Release(h)
		}
	}()
	for n < len(parts) && m.small(&parts[n]) {
		p := &parts[n]
		h, err := m.enterPart("write", p, n == 0, rangelock.Exclusive)
		if h == nil && err == nil {
			break
		}
		var k int64
		if err == nil {
			held = append(held, h)
			k, err = m.addBlocks(x, opWrite, p.P, p.Off, int64(len(p.P)), p.Sums)
		}
		if err != nil {
			m.ring.j.Drop(x)
			return 0, false, err
		}
		if k < int64(len(p.P)) {
			break // the next one takes all of it
		}
		n++
	}
	if n == 0 { // not small, or longer than a transaction may be
		m.ring.j.Drop(x)
		return 0, false, nil
	}
	seq, synced, err := m.syncRing(x, flush && n == len(parts))
	if err == nil && !synced {
		err = m.ring.j.Await(seq)
	}
	return n, synced, err
}

// enterPart is enter for a part of several. Unless told to wait it returns
// neither a range nor an error where it would have to.
func (m *Mirror) enterPart(name string, p *device.Part, wait bool, mode rangelock.Mode) (*rangelock.Held, error) {
	off, n := p.Off, int64(len(p.P))
	if p.Sums != nil && (off%BlockSize != 0 || n != int64(len(p.Sums))*BlockSize) {
		return nil, device.CheckGuards(p.P, off, p.Sums)
	}
	if wait {
		return m.enter(name, off, n, mode)
	}
	if err := device.CheckRange(m.geo.DataSize, off, n); err != nil {
		return nil, err
	}
	start := off / BlockSize * BlockSize
	return m.ranges.TryAcquire(start, ondisk.RoundUp(off+n, BlockSize)-start, mode), nil
}

// put does any operation that changes data. Blocks of which the ring holds
// anything go to the ring again, the others home: so the ring has nothing older
// than what is at home. It returns how much was done, from the start; the rest
// has to wait for room if the error says so. Requires the range exclusively.
func (m *Mirror) put(op legOp, p []byte, off, n int64, sums []uint32) (done int64, err error) {
	var few [4]journal.Version
	held := m.ring.held(off, n, few[:0])
	if mutant.On(mutant.ReplayOverNewer) {
		held = nil
	}
	if m.ring.mode == JournalAlways && m.ring.j != nil && n <= batchWrite {
		done, err = m.putRing(op, p, off, n, sums)
		if len(held) > 0 || !noRoom(err) {
			return done, err
		}
	}
	for done < n {
		k, inRing := segment(&held, off+done, n-done)
		part := head(tail(p, done), k)
		partSums := sums
		if sums != nil {
			partSums = sums[done/BlockSize:][:k/BlockSize]
		}
		if inRing {
			k, err = m.putRing(op, part, off+done, k, partSums)
			done += k
		} else if err = m.putHome(op, part, off+done, k, partSums); err == nil {
			done += k
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// segment returns how much of a range, from its start, is alike: blocks held by
// the ring or not. It takes what it has passed out of held.
func segment(held *[]journal.Version, off, n int64) (length int64, inRing bool) {
	end := off + n
	at := off
	for len(*held) > 0 && startOf(&(*held)[0]) <= at && at < end {
		at = startOf(&(*held)[0]) + BlockSize
		*held = (*held)[1:]
	}
	if at > off {
		return min(at, end) - off, true
	}
	if len(*held) > 0 {
		end = min(end, startOf(&(*held)[0]))
	}
	return end - off, false
}

// tail is what follows the first n bytes of p, if it has any.
func tail(p []byte, n int64) []byte {
	if p == nil {
		return nil
	}
	return p[n:]
}

// putRing writes all blocks that a range touches to the ring, in as many
// transactions as it takes, and returns how much of it was done.
func (m *Mirror) putRing(op legOp, p []byte, off, n int64, sums []uint32) (done int64, err error) {
	var seq uint64
	for done < n {
		x := m.ring.j.Begin(int(n-done)/BlockSize + 2)
		if sums != nil {
			sums = sums[len(sums)-int(n-done)/BlockSize:]
		}
		k, err := m.addBlocks(x, op, tail(p, done), off+done, n-done, sums)
		if err != nil {
			m.ring.j.Drop(x)
			return done, err
		}
		if seq, err = m.writeRing(x); err != nil {
			return done, err
		}
		done += k
	}
	return done, m.ring.j.Await(seq)
}

// writeRing appends a transaction, writes it to the legs and gives it back.
func (m *Mirror) writeRing(x *journal.Transaction) (seq uint64, err error) {
	seq, _, err = m.syncRing(x, false)
	return seq, err
}

// syncRing is writeRing, and flushes in the same turn if it is to and need not wait
// for anybody to do so. Nor may any transaction before this one be on its way: the
// flush of a leg might come before it there, and leave a gap.
func (m *Mirror) syncRing(x *journal.Transaction, flush bool) (seq uint64, synced bool, err error) {
	if err := m.ring.j.Append(x); err != nil {
		m.ring.j.Drop(x)
		m.ring.bell.Ring()
		return 0, false, err
	}
	seq = x.Seq()
	if flush && m.ring.mark() == seq-1 {
		synced, err = m.flusher.group.Try(func() error { return m.flushRing(x) })
	}
	if !synced {
		ok, failed := m.onLegsAt(m.roll().targets(), opRing, x.Writes())
		err = m.settle(ok, failed)
		m.ring.j.Wrote(x, err)
	}
	if m.ring.filled(highWater) {
		m.ring.bell.Ring()
	}
	return seq, synced && err == nil && !m.flusher.owes(), err
}

// addBlocks adds the blocks that a range touches to a transaction, as many as it has
// room for, and returns how much of the range that is. They go to the ring as a
// whole: so what it holds of a block is one version, and is all of it. Requires
// the range exclusively.
func (m *Mirror) addBlocks(x *journal.Transaction, op legOp, p []byte, off, n int64, sums []uint32) (done int64, err error) {
	for done < n {
		at := off + done
		start := at / BlockSize * BlockSize
		k := min(start+BlockSize-at, n-done)
		block := head(tail(p, done), k)
		if k < BlockSize {
			b := m.oneBlock.get()
			defer m.oneBlock.put(b) // two at most: the first block and the last
			if err := m.patched(b[:], block, at, k); err != nil {
				return done, err
			}
			block = b[:]
		}
		var sum *uint32
		if sums != nil {
			sum = &sums[done/BlockSize]
		}
		zeros := op != opWrite && k == BlockSize
		added, err := m.addBlock(x, zeros, block, start, sum)
		if err != nil || !added {
			return done, err
		}
		done += k
	}
	return done, nil
}

// patched reads the block around n bytes at off, and puts p in, or zeros.
func (m *Mirror) patched(b, p []byte, off, n int64) error {
	start := off / BlockSize * BlockSize
	if err := m.readSound(b, start); err != nil {
		if err := m.readMending(b, start); err != nil {
			return err
		}
	}
	if part := b[off-start:][:n]; p == nil {
		clear(part)
	} else {
		copy(part, p)
	}
	return nil
}

// addBlock adds a block to a transaction, if it has room: with the tuple that
// comes after the newest that the block has anywhere.
func (m *Mirror) addBlock(x *journal.Transaction, zeros bool, block []byte, at int64, sum *uint32) (added bool, err error) {
	content, is := zeroBlock[:], guard.ZeroSum
	if !zeros {
		content, is = block, guard.Sum(block)
	}
	if sum != nil && is != *sum {
		return false, device.CheckGuards(block, at, []uint32{*sum})
	}
	prev, err := m.newestTuple(at)
	if err != nil {
		return false, err
	}
	number := uint64(at / BlockSize)
	e := journal.Entry{Block: number, Sectors: journal.AllSectors, Tuple: journal.Tuple(m.ring.binding.Make(number, is, content, prev))}
	if zeros {
		return x.AddZeros(e), nil
	}
	return x.Add(e, block), nil
}

// newestTuple returns the tuple of a block in the ring, or if the ring holds
// nothing of it, at home.
func (m *Mirror) newestTuple(at int64) (t guard.Tuple, err error) {
	var one [1]journal.Version
	if held := m.ring.held(at, BlockSize, one[:0]); len(held) > 0 {
		return guard.Tuple(held[0].Tuple), nil
	}
	if !m.guards.on() {
		return t, nil
	}
	b, err := m.guards.hold(at)
	if err != nil {
		return t, err
	}
	defer m.guards.drop(b)
	var home [1]guard.Tuple
	m.guards.copyOut(home[:], b, at)
	return home[0], nil
}
