package ondisk

import (
	"bytes"
	"testing"
	"testing/quick"

	"github.com/google/uuid"
)

// resealed returns a block with the right checksum, so that the fuzzer gets past it.
func resealed(b []byte) []byte {
	c := make([]byte, BlockSize)
	copy(c, b)
	seal(c)
	return c
}

// FuzzSuperblock: whatever a leg holds, decoding does not panic, and what is
// accepted can be worked with and encodes to what it was.
func FuzzSuperblock(f *testing.F) {
	for _, sb := range smallPool(3) {
		f.Add(encoded(&sb))
	}
	f.Add([]byte(superMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = decodeSuperblock(b, HeadOffset)
		c := resealed(b)
		sb, err := decodeSuperblock(c, HeadOffset)
		if err != nil {
			return
		}
		g := &sb.Geometry
		if n := g.Regions(); n < 1 || n > maxRegions {
			t.Fatalf("%d regions", n)
		}
		if g.DataOff()+g.DataSize > TailOffset(sb.LegSize) || g.LogOff()+logAreaSize > TailOffset(sb.LegSize) {
			t.Fatalf("areas outside the leg: %+v", g)
		}
		again := make([]byte, BlockSize)
		sb.encode(again, HeadOffset)
		back, err := decodeSuperblock(again, HeadOffset)
		if err != nil || back.Geometry != sb.Geometry || !back.SameView(sb) {
			t.Fatalf("encoded to something else: %v", err)
		}
	})
}

// FuzzLogBlock: the same for a block of the region log.
func FuzzLogBlock(f *testing.F) {
	pool := uuid.UUID{1, 2, 3}
	for seq := range uint64(3) {
		b := make([]byte, BlockSize)
		EncodeLogBlock(b, pool, 5, seq, &LogBits{0: seq, 7: ^uint64(0)})
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var bits LogBits
		_, _ = DecodeLogBlock(b, pool, 5, 1, &bits)
		c := resealed(b)
		seq, err := DecodeLogBlock(c, pool, 5, 1, &bits)
		if err != nil {
			return
		}
		again := make([]byte, BlockSize)
		EncodeLogBlock(again, pool, 5, seq, &bits)
		if !bytes.Equal(again[offLogBits:offLogBits+8*LogWords], c[offLogBits:offLogBits+8*LogWords]) {
			t.Fatal("encoded to something else")
		}
	})
}

// Any flipped bit of a superblock or log block is found.
func TestFlippedBitIsFound(t *testing.T) {
	super := encoded(&smallPool(2)[1])
	logBlock := make([]byte, BlockSize)
	EncodeLogBlock(logBlock, uuid.UUID{9}, 0, 1, &LogBits{})
	flip := func(bit uint16) bool {
		i, mask := int(bit)/8%BlockSize, byte(1)<<(bit%8)
		super[i] ^= mask
		logBlock[i] ^= mask
		_, superErr := decodeSuperblock(super, HeadOffset)
		_, logErr := DecodeLogBlock(logBlock, uuid.UUID{9}, 0, 1, &LogBits{})
		super[i] ^= mask
		logBlock[i] ^= mask
		return superErr != nil && logErr != nil
	}
	if err := quick.Check(flip, nil); err != nil {
		t.Error(err)
	}
}
