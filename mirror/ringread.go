package mirror

import (
	"errors"
	"fmt"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/eventlog"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/internal/seam"
	"holdfast.dev/holdfast/journal"
)

// errMoved says that a block has left the ring meanwhile: it is at home.
var errMoved = errors.New("no longer in the journal")

// readHeld reads what p wants of a block of which the ring holds a version, and
// returns how much that is. Requires the range.
func (m *Mirror) readHeld(v *journal.Version, p []byte, off int64) (int64, error) {
	skip := off - startOf(v)
	if skip == 0 && len(p) >= BlockSize {
		return BlockSize, m.readVersion(v, p[:BlockSize], nil)
	}
	b := m.oneBlock.get()
	defer m.oneBlock.put(b)
	err := m.readVersion(v, b[:], nil)
	return int64(copy(p, b[skip:])), err
}

// ringScrub is what a scrub asks of a block in the ring: that every leg is looked
// at, and how many have it otherwise than written; with look nothing is changed.
type ringScrub struct {
	look bool
	bad  int
}

// readVersion reads a block from the ring, of the first leg that has it as it was
// written, or for a scrub of every leg. A leg that holds something else, or cannot
// be read there, is charged and given the block anew from another.
//
// Where no leg has it the error is the first of those that could not be read, or
// if all could, device.ErrGuard.
func (m *Mirror) readVersion(v *journal.Version, p []byte, scrub *ringScrub) error {
	if v.Zeros == journal.AllSectors {
		clear(p)
		return nil
	}
	r := &m.ring
	var few [2]journal.Piece
	pieces := r.j.Pieces(v, few[:0])
	b := m.oneBlock.get()
	defer m.oneBlock.put(b)
	var unread, wrong legMask
	var first error
	good := false
	for left := m.inSync(); left != 0 && (scrub != nil || !good); {
		i := m.pick(left, startOf(v))
		left &^= 1 << i
		err := m.readPieces(i, pieces, b[:])
		switch {
		case err != nil:
			unread |= 1 << i
			if first == nil {
				first = err
			}
		case !r.binding.Holds(guard.Tuple(v.Tuple), v.Block, b[:]):
			wrong |= 1 << i
		default:
			copy(p, b[:])
			good = true
		}
	}
	if !r.j.Holds(v) {
		return errMoved
	}
	look := scrub != nil && scrub.look
	m.chargeRing(v, unread, wrong, good, look)
	if scrub != nil {
		scrub.bad = (unread | wrong).len()
	}
	if good && look {
		return nil
	}
	if good {
		m.healRing(v, pieces, p, unread|wrong)
		return nil
	}
	if first == nil {
		first = fmt.Errorf("%w: the block at %d, in the journal of every leg: write it anew, or restore it", device.ErrGuard, startOf(v))
	}
	return first
}

// readPieces reads the pieces of a block from a leg.
func (m *Mirror) readPieces(i int, pieces []journal.Piece, b []byte) error {
	for _, x := range pieces {
		if err := m.readArea(i, b[x.First*device.SectorSize:][:x.Len*device.SectorSize], x.Off); err != nil {
			return err
		}
	}
	return nil
}

// chargeRing tells which legs have a block of the ring otherwise than it was
// written.
func (m *Mirror) chargeRing(v *journal.Version, unread, wrong legMask, good, look bool) {
	event := eventlog.BlockHealed
	switch {
	case !good:
		event = eventlog.BlockLost
	case look:
		event = eventlog.BlockBad
	}
	for i, l := range m.legs() {
		if !(unread | wrong).has(i) {
			continue
		}
		if wrong.has(i) {
			l.guardErrors.Add(1)
			m.slog.Warn("leg holds something else in its journal than was written to it",
				eventlog.Key, event, "leg", l.name, "offset", startOf(v), "length", BlockSize)
		}
		if l.faults.add(1) {
			m.giveUpOn(i)
		}
	}
}

// healing keeps room in the ring from being used again while something there is
// written anew.
type healing struct {
	mu    seam.Mutex
	ended *seam.Cond
	n     int // guarded by mu: how many heal
}

// begin says whether a version is in the ring, and if so keeps it there.
func (h *healing) begin(j *journal.Journal, v *journal.Version) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !j.Holds(v) {
		return false
	}
	h.n++
	return true
}

func (h *healing) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n--
	h.ended.Broadcast()
}

// land lets room be used again, when nobody heals.
func (h *healing) land(j *journal.Journal, header *journal.Header, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.n > 0 {
		h.ended.Wait()
	}
	j.Landed(header, err)
}

// healRing gives legs a block of the ring anew. The bytes are those that are
// there, if the leg does as it says, so a torn write of them harms nothing.
func (m *Mirror) healRing(v *journal.Version, pieces []journal.Piece, p []byte, legs legMask) {
	if legs == 0 || !m.ring.healing.begin(m.ring.j, v) {
		return
	}
	defer m.ring.healing.end()
	var writes []journal.Write
	for _, x := range pieces {
		writes = append(writes, journal.Write{P: p[x.First*device.SectorSize:][:x.Len*device.SectorSize], Off: x.Off})
	}
	ok, err := m.onLegsAt(legs, opRing, writes)
	// If that cannot be written down the next operation tries again.
	_ = m.settle(ok|^legs, err)
}
