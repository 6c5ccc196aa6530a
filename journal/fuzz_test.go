package journal

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/google/uuid"

	"holdfast.dev/holdfast/device"
)

// FuzzHeader: whatever a slot holds, decoding does not panic, and what is
// accepted encodes to what it was.
func FuzzHeader(f *testing.F) {
	for seq := range uint64(4) {
		h := header{seq: seq, epoch: 7, tail: place{pos: seq * 100, seq: seq}, durable: seq}
		f.Add(h.write(&layout{}).P[:64])
	}
	f.Fuzz(func(t *testing.T, head []byte) {
		for slot := range headerBlocks {
			_, _ = decodeHeader(head, uuid.UUID{}, slot)
			c := make([]byte, BlockSize)
			copy(c, head)
			binary.LittleEndian.PutUint32(c[offHeaderCRC:], crc32.Checksum(c[:offHeaderCRC], castagnoli))
			h, err := decodeHeader(c, uuid.UUID{}, slot)
			if err != nil {
				continue
			}
			if again := h.write(&layout{}).P; !bytes.Equal(again[:64], c[:64]) {
				t.Fatal("encoded to something else")
			}
		}
	})
}

// fuzzRing is a ring of 12 blocks: three fit a transaction.
func fuzzRing(tb testing.TB) (*plain, []byte) {
	p := newPlain(tb, 1, 12)
	p.put(1, 1)
	p.put(2, plainBlocks-1)
	p.flush()
	x := p.zeros(4)
	must(tb, p.j.Append(x))
	p.land(x)
	b := make([]byte, p.c.Len)
	_, err := p.legs[0].ReadAt(b, 0)
	must(tb, err)
	return p, b
}

// FuzzTransaction: a descriptor with the right epoch and checksum do not panic, and
// what is taken from them stays within the pool and within the bytes.
func FuzzTransaction(f *testing.F) {
	_, area := fuzzRing(f)
	f.Add(area[2*BlockSize:][:sectorSize])
	f.Add(area[6*BlockSize:][:sectorSize])
	l, err := newLayout(Config{Len: int64(len(area)), Blocks: plainBlocks})
	must(f, err)
	f.Fuzz(func(t *testing.T, head []byte) {
		b := make([]byte, 3*BlockSize)
		copy(b, head)
		d, err := l.decodeHead(b, binary.LittleEndian.Uint64(b[8:]))
		if err != nil || int(d.blocks)*BlockSize > len(b) {
			return
		}
		b = b[:d.blocks*BlockSize]
		binary.LittleEndian.PutUint32(b[offTxnCRC:], txnCRC(b))
		if l.check(&d, b) != nil {
			return
		}
		d.each(b, func(e Entry, k kind, at uint64, data []byte) {
			if e.Block >= plainBlocks || e.Sectors == 0 || k == kindData != (len(data) == e.Sectors.Len()*sectorSize) ||
				at < d.pos*sectorsPerBlock || at >= (d.pos+d.blocks)*sectorsPerBlock {
				t.Fatalf("%+v of kind %d at %d with %d bytes", e, k, at, len(data))
			}
		})
		again := bytes.Clone(b)
		d.encode(again)
		if !bytes.Equal(again, b) {
			t.Fatal("encoded to something else")
		}
	})
}

// FuzzScan: whatever the area holds, recovery ends, and replays nothing outside
// the pool. The area is a sound one with changes, of four bytes each: a block, an
// offset, what is written there. Then checksums are put right, if so wanted.
func FuzzScan(f *testing.F) {
	p, area := fuzzRing(f)
	f.Add([]byte{2, 0, 48, 3, 4, 0, 16, 9}, true)
	f.Add([]byte{1, 0, 40, 1, 0, 0, 0, 0}, false)
	f.Fuzz(func(t *testing.T, changes []byte, seal bool) {
		area := bytes.Clone(area)
		for ; len(changes) >= 4; changes = changes[4:] {
			block, off := int(changes[0])%(len(area)/BlockSize), int(binary.BigEndian.Uint16(changes[1:]))%BlockSize
			area[block*BlockSize+off] = changes[3]
		}
		if seal {
			sealAll(area)
		}
		leg := device.NewMem(p.c.Len)
		_, err := leg.WriteAt(area, 0)
		must(t, err)
		r, err := Scan(p.c, []device.Device{leg, leg})
		if err != nil {
			return
		}
		written := 0
		err = r.Replay(func(v Replayed) error {
			if v.Block >= plainBlocks || v.Sectors == 0 || v.Data != nil && len(v.Data) != v.Sectors.Len()*sectorSize {
				t.Fatalf("%+v", v)
			}
			written += v.Sectors.Len()
			return nil
		})
		if err != nil || written > r.Blocks*sectorsPerBlock || r.Blocks > 12*entriesPerBlock {
			t.Fatalf("%v: %d sectors of %d blocks", err, written, r.Blocks)
		}
		must(t, r.Level(func(w Write) error { _, err := leg.WriteAt(w.P, w.Off); return err }))
	})
}

// sealAll puts right the checksum of everything that looks like a header or a
// transaction, with the epoch of the newer header.
func sealAll(area []byte) {
	le := binary.LittleEndian
	l, err := newLayout(Config{Len: int64(len(area)), Blocks: plainBlocks})
	if err != nil {
		return
	}
	for slot := range headerBlocks {
		b := area[slot*BlockSize:][:BlockSize]
		copy(b, headerMagic)
		clear(b[8:24])
		copy(b[32:40], area[32:40])
		le.PutUint32(b[offHeaderCRC:], crc32.Checksum(b[:offHeaderCRC], castagnoli))
	}
	for at := headerBlocks * BlockSize; at < len(area); at += BlockSize {
		b := area[at:]
		copy(b[8:16], area[32:40])
		if d, err := l.decodeHead(b, le.Uint64(b[8:])); err == nil && int(d.blocks)*BlockSize <= len(b) {
			le.PutUint32(b[offTxnCRC:], txnCRC(b[:d.blocks*BlockSize]))
		}
	}
}

// Any flipped bit of a header or a transaction is found.
func TestFlippedBitIsFound(t *testing.T) {
	p, area := fuzzRing(t)
	l, epoch := &p.j.layout, p.j.epoch
	slot := int(p.j.headerSeq & 1)
	for i := range 4 * BlockSize * 8 {
		if i < 3*BlockSize*8 && i%7 != 0 {
			continue // enough of them
		}
		area[i/8] ^= 1 << (i % 8)
		_, headerErr := decodeHeader(area[slot*BlockSize:][:BlockSize], p.c.Pool, slot)
		d, err := l.decodeHead(area[headerBlocks*BlockSize:], epoch)
		if err == nil {
			err = l.check(&d, area[headerBlocks*BlockSize:][:d.blocks*BlockSize])
		}
		switch {
		case i/8/BlockSize == slot && headerErr == nil:
			t.Fatalf("bit %d of the header", i%(BlockSize*8))
		case i/8/BlockSize >= headerBlocks && err == nil:
			t.Fatalf("bit %d of the transaction", i-headerBlocks*BlockSize*8)
		}
		area[i/8] ^= 1 << (i % 8)
	}
}
