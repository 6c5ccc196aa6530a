package ondisk

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
func (k AreaKind) slot() int { return offAreas + int(k-1)*areaSlotSize }

// PoolState says where a pool is between opening and closing.
type PoolState uint32

// The states of a pool.
const (
	PoolClean   PoolState = iota // closed: nothing was in flight
	PoolOpening                  // about to be opened: no data was written yet
	PoolOpen                     // open, or not closed cleanly
	poolStates
)

// MemberState says what a pool thinks of one of its legs.
type MemberState uint32

// The states of a leg.
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

// Member is a leg as the other legs know it.
type Member struct {
	Leg   uuid.UUID
	State MemberState
	// Since is the generation that brought the state. Of a failed leg: the
	// first that it is not to speak for.
	Since uint64
}

// Superblock is what a leg says about itself and its pool.
type Superblock struct {
	Pool, Leg  uuid.UUID
	Index      int
	LegSize    int64
	Generation uint64
	Used       uint64 // the newest generation in which data may have been written
	State      PoolState
	Geometry   Geometry
	// Unsettled says that legs in sync may differ where the region log says so,
	// although the pool was closed.
	Unsettled bool
	Members   []Member

	compat, roCompat uint64
	// raw is the block this was decoded from, for the bytes not known here.
	raw [BlockSize]byte
}

// SameView says whether two superblocks of one pool tell the same about it.
func (s *Superblock) SameView(o *Superblock) bool {
	if s.Generation != o.Generation || s.State != o.State || len(s.Members) != len(o.Members) {
		return false
	}
	for i := range s.Members {
		if s.Members[i] != o.Members[i] {
			return false
		}
	}
	return true
}

// Lists says whether one superblock counts the leg of another as a member.
func (s *Superblock) Lists(o *Superblock) bool {
	return o.Index < len(s.Members) && s.Members[o.Index].Leg == o.Leg && s.Members[o.Index].State != Removed
}

// UnknownROCompat returns the features because of which this program must not write to
// the leg; none if it may.
func (s *Superblock) UnknownROCompat() uint64 { return s.roCompat &^ knownROCompat }

// encode writes s as it stands at the given location into b, one block.
func (s *Superblock) encode(b []byte, location int64) {
	le := binary.LittleEndian
	copy(b, s.raw[:])
	copy(b, superMagic)
	le.PutUint32(b[8:], superVersion)
	le.PutUint32(b[12:], BlockSize)
	le.PutUint64(b[16:], s.compat)
	le.PutUint64(b[24:], s.roCompat)
	le.PutUint64(b[32:], s.Geometry.incompat())
	le.PutUint32(b[offGuardKind:], uint32(s.Geometry.Guards))
	le.PutUint32(b[offUnsettled:], 0)
	if s.Unsettled {
		le.PutUint32(b[offUnsettled:], 1)
	}
	copy(b[40:], s.Pool[:])
	copy(b[56:], s.Leg[:])
	le.PutUint64(b[72:], uint64(location))
	le.PutUint64(b[80:], s.Generation)
	le.PutUint32(b[88:], uint32(s.Index))
	le.PutUint32(b[92:], uint32(len(s.Members)))
	le.PutUint64(b[96:], uint64(s.LegSize))
	le.PutUint64(b[104:], uint64(s.Geometry.DataSize))
	le.PutUint64(b[112:], uint64(s.Geometry.RegionSize))
	le.PutUint32(b[120:], uint32(s.State))
	le.PutUint64(b[offUsed:], s.Used)
	for _, a := range s.Geometry.Areas[1:] {
		e := b[a.kind.slot():]
		le.PutUint32(e, uint32(a.kind))
		le.PutUint64(e[8:], uint64(a.Off))
		le.PutUint64(e[16:], uint64(a.Len))
	}
	for i, m := range s.Members {
		e := b[offMembers+i*memberSlotLen:]
		copy(e, m.Leg[:])
		le.PutUint32(e[16:], uint32(m.State))
		le.PutUint64(e[24:], m.Since)
	}
	seal(b)
}

// incompat are the incompatible features that a pool of this geometry has.
func (g *Geometry) incompat() (features uint64) {
	if g.Guards != guard.None {
		features |= incompatGuards
	}
	if g.Journal {
		features |= incompatJournal
	}
	return features
}

// decodeSuperblock reads the superblock in b, which was found at the given
// location of a leg. Its errors wrap ErrCorrupt or ErrUnsupported.
func decodeSuperblock(b []byte, location int64) (*Superblock, error) {
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
	s := &Superblock{
		Generation: le.Uint64(b[80:]),
		Used:       le.Uint64(b[offUsed:]),
		Index:      int(le.Uint32(b[88:])),
		LegSize:    int64(le.Uint64(b[96:])),
		State:      PoolState(le.Uint32(b[120:])),
		compat:     le.Uint64(b[16:]),
		roCompat:   le.Uint64(b[24:]),
	}
	copy(s.raw[:], b)
	copy(s.Pool[:], b[40:])
	copy(s.Leg[:], b[56:])
	s.Geometry.DataSize = int64(le.Uint64(b[104:]))
	s.Geometry.RegionSize = int64(le.Uint64(b[112:]))
	if le.Uint32(b[12:]) != BlockSize || s.State >= poolStates {
		return nil, fmt.Errorf("%w: block size %d, state %d", ErrCorrupt, le.Uint32(b[12:]), s.State)
	}
	s.Unsettled = le.Uint32(b[offUnsettled:]) != 0
	kind := le.Uint32(b[offGuardKind:])
	s.Geometry.Guards = guard.Kind(kind)
	s.Geometry.Journal = le.Uint64(b[32:])&incompatJournal != 0
	if kind > uint32(guard.T10DIF) || s.Geometry.incompat() != le.Uint64(b[32:]) {
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

func (s *Superblock) decodeMembers(b []byte, n uint32) error {
	if n < 1 || n > MaxLegs || s.Index < 0 || s.Index >= int(n) {
		return fmt.Errorf("leg %d of %d", s.Index, n)
	}
	s.Members = make([]Member, n)
	for i := range s.Members {
		e := b[offMembers+i*memberSlotLen:]
		m := &s.Members[i]
		copy(m.Leg[:], e)
		m.State = MemberState(binary.LittleEndian.Uint32(e[16:]))
		m.Since = binary.LittleEndian.Uint64(e[24:])
		if m.State >= memberStates {
			return fmt.Errorf("leg %d is in state %d", i, m.State)
		}
		for j := range i {
			if s.Members[j].Leg == m.Leg {
				return fmt.Errorf("legs %d and %d are the same", j, i)
			}
		}
	}
	if s.Members[s.Index].Leg != s.Leg {
		return fmt.Errorf("leg %s is listed as %s", s.Leg, s.Members[s.Index].Leg)
	}
	return nil
}

func (s *Superblock) decodeAreas(b []byte) error {
	g := &s.Geometry
	if g.DataSize <= 0 || g.DataSize > MaxDataSize || g.DataSize%BlockSize != 0 {
		return fmt.Errorf("data size %d", g.DataSize)
	}
	if err := checkRegionSize(g.RegionSize, g.DataSize); err != nil {
		return err
	}
	if s.LegSize < minLegSize || s.LegSize > 2*MaxDataSize {
		return fmt.Errorf("leg size %d", s.LegSize)
	}
	for kind := areaNone + 1; kind < areaKinds; kind++ {
		e := b[kind.slot():]
		if is := AreaKind(binary.LittleEndian.Uint32(e)); is != kind {
			return fmt.Errorf("area %d stands in the place of area %d", is, kind)
		}
		a := Area{kind, int64(binary.LittleEndian.Uint64(e[8:])), int64(binary.LittleEndian.Uint64(e[16:]))}
		if a.Off < HeadOffset+BlockSize || a.Off%BlockSize != 0 || a.Len < 0 || a.Off > TailOffset(s.LegSize)-a.Len {
			return fmt.Errorf("area %d has %d bytes at %d of a leg of %d", kind, a.Len, a.Off, s.LegSize)
		}
		g.Areas[kind] = a
	}
	return g.checkAreas()
}
