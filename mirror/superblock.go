package mirror

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"

	"holdfast.dev/holdfast/internal/guard"
)

// A superblock is one block, little endian, a checksum over the rest of the
// block in its last four bytes. Bytes that are not listed are zero when a pool
// is made, and kept as they are when a superblock is rewritten: a compatible
// feature may have put them there.
//
//	0    8   magic
//	8    4   format version
//	12   4   block size
//	16   8   compatible features: a program that does not know one may ignore it
//	24   8   read-only compatible features: may read, must not write
//	32   8   incompatible features: must not touch
//	40  16   pool
//	56  16   leg
//	72   8   location: where on the leg this copy belongs
//	80   8   generation
//	88   4   index of the leg
//	92   4   number of legs
//	96   8   size of the leg
//	104  8   size of the data
//	112  8   size of a region
//	120  4   pool state
//	128 192  areas: eight times kind (4), zero (4), offset (8), length (8);
//	         kind k has the k-th place
//	320 256  members: eight times leg (16), state (4), zero (4), generation of
//	         the state (8)
//	576  8   newest generation in which data may have been written
//	584  4   kind of the guards: 0 none, 1 crc32c, 2 t10-dif
//	588  4   1 if legs in sync may differ in regions whose bit is set, although
//	         the pool was closed
//	4092 4   CRC-32C
const (
	superMagic   = "HOLDFAST"
	superVersion = 1

	areaSlotSize  = 24
	memberSlotLen = 32
	offAreas      = 128
	offMembers    = 320
	offUsed       = 576
	offGuardKind  = 584
	offUnsettled  = 588

	// What this program knows of each class of features.
	knownROCompat = 0
	knownIncompat = incompatGuards | incompatJournal

	// incompatGuards says that blocks have guards, which whoever writes to the
	// leg has to keep up.
	incompatGuards = 1 << 0
	// incompatJournal says that the journal is in use: what it holds is newer than
	// the data area.
	incompatJournal = 1 << 1
)

// slot is where in a superblock an area is told of.
func (k areaKind) slot() int { return offAreas + int(k-1)*areaSlotSize }

// poolState says where a pool is between opening and closing.
type poolState uint32

const (
	poolClean   poolState = iota // closed: nothing was in flight
	poolOpening                  // about to be opened: no data was written yet
	poolOpen                     // open, or not closed cleanly
	poolStates
)

// MemberState says what a pool thinks of one of its legs.
type MemberState uint32

const (
	// InSync legs hold everything, outside the regions that the log names.
	InSync MemberState = iota
	// Failed legs missed writes and are left alone.
	Failed
	// Joining legs take every write, and are being given what they lack.
	Joining
	// Removed is a place without a leg.
	Removed
	memberStates
)

// String returns the state as shown to people.
func (s MemberState) String() string {
	switch s {
	case InSync:
		return "in sync"
	case Failed:
		return "failed"
	case Joining:
		return "joining"
	case Removed:
		return "removed"
	}
	return fmt.Sprintf("state %d", uint32(s))
}

// MarshalText makes the state readable in JSON.
func (s MemberState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// member is a leg as the other legs know it.
type member struct {
	leg   uuid.UUID
	state MemberState
	// since is the generation that brought the state. Of a failed leg: the
	// first that it is not to speak for.
	since uint64
}

// superblock is what a leg says about itself and its pool.
type superblock struct {
	pool, leg  uuid.UUID
	index      int
	legSize    int64
	generation uint64
	used       uint64
	state      poolState
	geometry   geometry
	// unsettled says that legs in sync may differ where the region log says so,
	// although the pool was closed.
	unsettled bool
	members   []member

	compat, roCompat uint64
	// raw is the block this was decoded from, for the bytes not known here.
	raw [BlockSize]byte
}

// sameView says whether two superblocks of one pool tell the same about it.
func (s *superblock) sameView(o *superblock) bool {
	if s.generation != o.generation || s.state != o.state || len(s.members) != len(o.members) {
		return false
	}
	for i := range s.members {
		if s.members[i] != o.members[i] {
			return false
		}
	}
	return true
}

// lists says whether one superblock counts the leg of another as a member.
func (s *superblock) lists(o *superblock) bool {
	return o.index < len(s.members) && s.members[o.index].leg == o.leg && s.members[o.index].state != Removed
}

// readOnly returns the features because of which this program must not write to
// the leg; none if it may.
func (s *superblock) readOnly() uint64 { return s.roCompat &^ knownROCompat }

// encode writes s as it stands at the given location into b, one block.
func (s *superblock) encode(b []byte, location int64) {
	le := binary.LittleEndian
	copy(b, s.raw[:])
	copy(b, superMagic)
	le.PutUint32(b[8:], superVersion)
	le.PutUint32(b[12:], BlockSize)
	le.PutUint64(b[16:], s.compat)
	le.PutUint64(b[24:], s.roCompat)
	le.PutUint64(b[32:], s.geometry.incompat())
	le.PutUint32(b[offGuardKind:], uint32(s.geometry.guards))
	le.PutUint32(b[offUnsettled:], 0)
	if s.unsettled {
		le.PutUint32(b[offUnsettled:], 1)
	}
	copy(b[40:], s.pool[:])
	copy(b[56:], s.leg[:])
	le.PutUint64(b[72:], uint64(location))
	le.PutUint64(b[80:], s.generation)
	le.PutUint32(b[88:], uint32(s.index))
	le.PutUint32(b[92:], uint32(len(s.members)))
	le.PutUint64(b[96:], uint64(s.legSize))
	le.PutUint64(b[104:], uint64(s.geometry.dataSize))
	le.PutUint64(b[112:], uint64(s.geometry.regionSize))
	le.PutUint32(b[120:], uint32(s.state))
	le.PutUint64(b[offUsed:], s.used)
	for _, a := range s.geometry.areas[1:] {
		e := b[a.kind.slot():]
		le.PutUint32(e, uint32(a.kind))
		le.PutUint64(e[8:], uint64(a.off))
		le.PutUint64(e[16:], uint64(a.len))
	}
	for i, m := range s.members {
		e := b[offMembers+i*memberSlotLen:]
		copy(e, m.leg[:])
		le.PutUint32(e[16:], uint32(m.state))
		le.PutUint64(e[24:], m.since)
	}
	seal(b)
}

// incompat are the incompatible features that a pool of this geometry has.
func (g *geometry) incompat() (features uint64) {
	if g.guards != guard.None {
		features |= incompatGuards
	}
	if g.journal {
		features |= incompatJournal
	}
	return features
}

// decodeSuperblock reads the superblock in b, which was found at the given
// location of a leg. Its errors wrap ErrCorrupt or ErrUnsupported.
func decodeSuperblock(b []byte, location int64) (*superblock, error) {
	le := binary.LittleEndian
	switch {
	case len(b) != BlockSize:
		return nil, fmt.Errorf("%w: superblock of %d bytes", ErrCorrupt, len(b))
	case !bytes.HasPrefix(b, []byte(superMagic)):
		return nil, fmt.Errorf("%w: no superblock there", ErrCorrupt)
	case !sealed(b):
		return nil, fmt.Errorf("%w: wrong checksum", ErrCorrupt)
	case le.Uint64(b[72:]) != uint64(location):
		return nil, fmt.Errorf("%w: superblock was written for byte %d", ErrCorrupt, le.Uint64(b[72:]))
	case le.Uint32(b[8:]) != superVersion:
		return nil, fmt.Errorf("%w: format version %d, known is %d: use a newer program", ErrUnsupported, le.Uint32(b[8:]), superVersion)
	case le.Uint64(b[32:])&^knownIncompat != 0:
		return nil, fmt.Errorf("%w: incompatible features %#x: use a newer program", ErrUnsupported, le.Uint64(b[32:])&^knownIncompat)
	}
	s := &superblock{
		generation: le.Uint64(b[80:]),
		used:       le.Uint64(b[offUsed:]),
		index:      int(le.Uint32(b[88:])),
		legSize:    int64(le.Uint64(b[96:])),
		state:      poolState(le.Uint32(b[120:])),
		compat:     le.Uint64(b[16:]),
		roCompat:   le.Uint64(b[24:]),
	}
	copy(s.raw[:], b)
	copy(s.pool[:], b[40:])
	copy(s.leg[:], b[56:])
	s.geometry.dataSize = int64(le.Uint64(b[104:]))
	s.geometry.regionSize = int64(le.Uint64(b[112:]))
	if le.Uint32(b[12:]) != BlockSize || s.state >= poolStates {
		return nil, fmt.Errorf("%w: block size %d, state %d", ErrCorrupt, le.Uint32(b[12:]), s.state)
	}
	s.unsettled = le.Uint32(b[offUnsettled:]) != 0
	kind := le.Uint32(b[offGuardKind:])
	s.geometry.guards = guard.Kind(kind)
	s.geometry.journal = le.Uint64(b[32:])&incompatJournal != 0
	if kind > uint32(guard.T10DIF) || s.geometry.incompat() != le.Uint64(b[32:]) {
		return nil, fmt.Errorf("%w: guards of kind %d and incompatible features %#x", ErrCorrupt, kind, le.Uint64(b[32:]))
	}
	if err := s.decodeMembers(b, le.Uint32(b[92:])); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrCorrupt, err)
	}
	if err := s.decodeAreas(b); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrCorrupt, err)
	}
	return s, nil
}

func (s *superblock) decodeMembers(b []byte, n uint32) error {
	if n < 1 || n > MaxLegs || s.index < 0 || s.index >= int(n) {
		return fmt.Errorf("leg %d of %d", s.index, n)
	}
	s.members = make([]member, n)
	for i := range s.members {
		e := b[offMembers+i*memberSlotLen:]
		m := &s.members[i]
		copy(m.leg[:], e)
		m.state = MemberState(binary.LittleEndian.Uint32(e[16:]))
		m.since = binary.LittleEndian.Uint64(e[24:])
		if m.state >= memberStates {
			return fmt.Errorf("leg %d is in state %d", i, m.state)
		}
		for j := range i {
			if s.members[j].leg == m.leg {
				return fmt.Errorf("legs %d and %d are the same", j, i)
			}
		}
	}
	if s.members[s.index].leg != s.leg {
		return fmt.Errorf("leg %s is listed as %s", s.leg, s.members[s.index].leg)
	}
	return nil
}

func (s *superblock) decodeAreas(b []byte) error {
	g := &s.geometry
	if g.dataSize <= 0 || g.dataSize > maxDataSize || g.dataSize%BlockSize != 0 {
		return fmt.Errorf("data size %d", g.dataSize)
	}
	if err := checkRegionSize(g.regionSize, g.dataSize); err != nil {
		return err
	}
	if s.legSize < minLegSize || s.legSize > 2*maxDataSize {
		return fmt.Errorf("leg size %d", s.legSize)
	}
	for kind := areaNone + 1; kind < areaKinds; kind++ {
		e := b[kind.slot():]
		if is := areaKind(binary.LittleEndian.Uint32(e)); is != kind {
			return fmt.Errorf("area %d stands in the place of area %d", is, kind)
		}
		a := area{kind, int64(binary.LittleEndian.Uint64(e[8:])), int64(binary.LittleEndian.Uint64(e[16:]))}
		if a.off < superOffset+BlockSize || a.off%BlockSize != 0 || a.len < 0 || a.off > tailOffset(s.legSize)-a.len {
			return fmt.Errorf("area %d has %d bytes at %d of a leg of %d", kind, a.len, a.off, s.legSize)
		}
		g.areas[kind] = a
	}
	return g.checkAreas()
}
