package ondisk

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/uuid"

	"holdfast.dev/holdfast/internal/guard"
)

// smallPool returns the superblocks of the legs of a pool of 16 regions.
func smallPool(legs int) []Superblock {
	const regionSize, size = 16 << 10, 16 * 16 << 10
	supers, members := make([]Superblock, legs), make([]Member, legs)
	for i := range supers {
		members[i] = Member{Leg: uuid.UUID{15: byte(i + 1)}, State: InSync, Since: 1}
		supers[i] = Superblock{
			Pool: uuid.UUID{0xff}, Leg: members[i].Leg, Index: i, LegSize: LegSize(size, 0), Generation: 1, Used: 1,
			Geometry: NewGeometry(size, regionSize, guard.CRC32C, 0), Members: members,
		}
	}
	return supers
}

// encoded returns a superblock as it stands at the head of a leg.
func encoded(sb *Superblock) []byte {
	b := make([]byte, BlockSize)
	sb.encode(b, HeadOffset)
	return b
}

// Each field that makes no sense is refused, though the checksum is right.
func TestSuperblockRefuses(t *testing.T) {
	good := encoded(&smallPool(2)[0])
	le := binary.LittleEndian
	areaAt := func(b []byte, k AreaKind) []byte { return b[k.slot():] }
	for _, c := range []struct {
		why    string
		change func(b []byte)
	}{
		{"block size 512", func(b []byte) { le.PutUint32(b[12:], 512) }},
		{"leg 2 of 2", func(b []byte) { le.PutUint32(b[88:], 2) }},
		{"leg 0 of 0", func(b []byte) { le.PutUint32(b[92:], 0) }},
		{"leg 0 of 5", func(b []byte) { le.PutUint32(b[92:], 5) }},
		{"leg 1 is in state 9", func(b []byte) { b[offMembers+memberSlotLen+16] = 9 }},
		{"legs 0 and 1 are the same", func(b []byte) { copy(b[offMembers+memberSlotLen:], b[offMembers:offMembers+16]) }},
		{"is listed as", func(b []byte) { b[offMembers]++ }},
		{"state 3", func(b []byte) { b[120] = 3 }},
		{"data size 4097", func(b []byte) { le.PutUint64(b[104:], 4097) }},
		{"data size -4096", func(b []byte) { le.PutUint64(b[104:], math.MaxUint64-4095) }},
		{"region size 12288", func(b []byte) { le.PutUint64(b[112:], 12288) }},
		{"leg size 8192", func(b []byte) { le.PutUint64(b[96:], 8192) }},
		{"area 7 stands in the place of area 2", func(b []byte) { areaAt(b, AreaGuards)[0] = 7 }},
		{"areas 1 and 2 overlap", func(b []byte) { le.PutUint64(areaAt(b, AreaGuards)[8:], HeadOffset+2*BlockSize) }},
		{"area 4 has", func(b []byte) { le.PutUint64(areaAt(b, AreaData)[16:], math.MaxInt64) }},
		{"area 1 has", func(b []byte) { le.PutUint64(areaAt(b, AreaLog)[8:], 0) }},
		{"area 1 has", func(b []byte) { le.PutUint64(areaAt(b, AreaLog)[8:], 8193) }},
		{"log area of 4096", func(b []byte) { le.PutUint64(areaAt(b, AreaLog)[16:], 4096) }},
		{"data area of 4096", func(b []byte) { le.PutUint64(areaAt(b, AreaData)[16:], 4096) }},
	} {
		b := append([]byte(nil), good...)
		c.change(b)
		seal(b)
		if _, err := decodeSuperblock(b, HeadOffset); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: got %v", c.why, err)
		}
	}
	if _, err := decodeSuperblock(good, HeadOffset); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}
