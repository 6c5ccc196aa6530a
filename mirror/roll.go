package mirror

import (
	"fmt"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// MemberState says what a pool thinks of one of its legs.
type MemberState = ondisk.MemberState

// The states of a leg.
const (
	// InSync legs hold everything, outside the regions that the log names.
	InSync = ondisk.InSync
	// Failed legs missed writes and are left alone.
	Failed = ondisk.Failed
	// Joining legs take every write, and are being given what they lack.
	Joining = ondisk.Joining
	// Removed is a place without a leg.
	Removed = ondisk.Removed
)

// roll says who is who among the legs of a pool. It fits in one word, so that
// all of it is read at one moment.
type roll struct {
	in      legMask // in sync: read from, and everything they hold counts
	joining legMask // written to like those in sync, and nothing else
	present legMask // those two and the failed: all that the pool has
}

const rollBits = 8 // of each mask; MaxLegs are in use

func rollOf(word uint32) roll {
	part := func(k int) legMask { return legMask(word>>(k*rollBits)) & (1<<rollBits - 1) }
	return roll{in: part(0), joining: part(1), present: part(2)}
}

func (r roll) word() uint32 {
	return uint32(r.in | r.joining<<rollBits | r.present<<(2*rollBits))
}

// targets are the legs that every write, flush and record goes to.
func (r roll) targets() legMask { return r.in | r.joining }

// state returns what the roll says of one leg.
func (r roll) state(i int) MemberState {
	switch {
	case r.in.has(i):
		return InSync
	case r.joining.has(i):
		return Joining
	case r.present.has(i):
		return Failed
	}
	return Removed
}

// rollCall returns the roll of a view. Absent legs are present, and nothing else.
func rollCall(view []ondisk.Member, absent legMask) (r roll) {
	for i, v := range view {
		bit := legMask(1) << i
		if v.State != Removed {
			r.present |= bit
		}
		switch {
		case absent.has(i):
		case v.State == InSync:
			r.in |= bit
		case v.State == Joining:
			r.joining |= bit
		}
	}
	return r
}

// roll returns the roll of the moment.
func (m *Mirror) roll() roll { return rollOf(m.members.word.Load()) }

// inSync returns the legs in sync.
func (m *Mirror) inSync() legMask { return m.roll().in }

// full says whether no leg of the pool misses anything that is written.
func (m *Mirror) full() bool {
	r := m.roll()
	return r.targets() == r.present
}

// quorum says whether some of the legs in sync may go on without the others
// although these were closed cleanly too: more than half, or half with the first.
// So of two parts of a pool never both may.
func quorum(part, all legMask) bool {
	twice := 2 * (part & all).len()
	return twice > all.len() || twice == all.len() && part.has(all.first())
}

// mayFail says whether legs that could not take a superblock may be failed. One
// that holds that the pool was not closed may always. One that may hold that it
// was closed cleanly would open without those that went on, unless these have a
// quorum of the legs that it lists. Requires members.mu.
func (m *Mirror) mayFail(legs legMask, cause error) error {
	in := m.inSync()
	for i, base := range m.members.closed {
		if legs.has(i) && base != 0 && !quorum(in&^legs, base) {
			return fmt.Errorf("%w: %s cannot be written while the pool is being opened or closed, and the others must not go on without it unasked: %w",
				ErrMissing, m.leg(i).name, cause)
		}
	}
	return nil
}

// absent is the device of a leg that is not there.
type absent struct{}

var errAbsent = fmt.Errorf("%w: there is no device", ErrMissing)

func (absent) ReadAt([]byte, int64) (int, error)  { return 0, errAbsent }
func (absent) WriteAt([]byte, int64) (int, error) { return 0, errAbsent }
func (absent) Flush() error                       { return errAbsent }
func (absent) Discard(int64, int64) error         { return errAbsent }
func (absent) WriteZeroes(int64, int64) error     { return errAbsent }
func (absent) Size() int64                        { return 0 }
func (absent) Close() error                       { return nil }

// isAbsent says whether a leg has no device.
func (l *leg) isAbsent() bool { return l.dev == device.Device(absent{}) }
