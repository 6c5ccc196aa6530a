package journal

import (
	"encoding/binary"
	"errors"
	"testing"

	"holdfast.dev/holdfast/device"
)

// A transaction that contradicts itself, the ring or the pool is not taken,
// though its checksum is right.
func TestHostileTransaction(t *testing.T) {
	le := binary.LittleEndian
	for name, change := range map[string]func(b []byte){
		"nothing":              func([]byte) {},
		"number zero":          func(b []byte) { le.PutUint64(b[16:], 0) },
		"number too great":     func(b []byte) { le.PutUint64(b[16:], 1<<63) },
		"position too great":   func(b []byte) { le.PutUint64(b[24:], 1<<60) },
		"tail after it":        func(b []byte) { le.PutUint64(b[32:], le.Uint64(b[24:])+1) },
		"durable before it is": func(b []byte) { le.PutUint64(b[40:], le.Uint64(b[16:])) },
		"no blocks":            func(b []byte) { le.PutUint32(b[48:], 0) },
		"too many blocks":      func(b []byte) { le.PutUint32(b[48:], 1<<31) },
		"more blocks":          func(b []byte) { le.PutUint32(b[48:], 3) },
		"no entries":           func(b []byte) { le.PutUint32(b[52:], 0) },
		"too many entries": func(b []byte) {
			le.PutUint32(b[52:], 21)
			le.PutUint32(b[56:], uint32(descSectors(21)))
			for i := range 21 {
				encodeEntry(b, i, Entry{Block: 4, Sectors: 0x0f}, kindZeros)
			}
			encodeEntry(b, 0, Entry{Block: 4, Sectors: AllSectors}, kindData)
		},
		"payload in the head": func(b []byte) { le.PutUint32(b[56:], 0) },
		"payload beyond":      func(b []byte) { le.PutUint32(b[56:], 17) },
		"payload cut off":     func(b []byte) { le.PutUint32(b[56:], 9) },
		"a block too far":     func(b []byte) { le.PutUint64(b[txnHeader:], plainBlocks) },
		"a negative block":    func(b []byte) { le.PutUint64(b[txnHeader:], 1<<63) },
		"no kind":             func(b []byte) { b[txnHeader+16] = 0 },
		"a kind too many":     func(b []byte) { b[txnHeader+16] = 3 },
		"no sectors":          func(b []byte) { b[txnHeader+17] = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlain(t, 1, 40)
			p.put(1, 1)
			p.flush()
			// Some payload less than two blocks, so that only its entry can be wrong.
			x := p.j.Begin(2)
			x.Add(Entry{Block: 2, Sectors: 0x0f}, filled(1)[:4*sectorSize])
			x.Add(Entry{Block: 3, Sectors: AllSectors}, filled(1))
			must(t, p.j.Append(x))
			b := x.Writes()[0].P
			change(b)
			le.PutUint32(b[offTxnCRC:], txnCRC(b))
			p.write(Write{b, x.Writes()[0].Off})
			want := 1
			if name == "nothing" {
				want = 3
			}
			r := p.scan()
			if r.Blocks != want || r.Lost != nil {
				t.Errorf("%d blocks, lost: %v", r.Blocks, r.Lost)
			}
		})
	}
}

// A ring does not have more entries than its index may.
func TestHostileRing(t *testing.T) {
	p := newPlain(t, 1, minRing)
	p.j.entries = 1000
	for i := range uint64(minRing) {
		x := p.j.Begin(4)
		for k := range uint64(4) {
			x.AddZeros(Entry{Block: 4*i + k, Sectors: AllSectors})
		}
		must(t, p.j.Append(x))
		p.land(x)
	}
	r := p.scan()
	if r.Blocks != minRing*entriesPerBlock || !errors.Is(r.Lost, ErrDamaged) {
		t.Errorf("%d blocks, lost: %v", r.Blocks, r.Lost)
	}
}

// liar is a device that, read for the second time at an offset, has changed.
type liar struct {
	device.Device
	off   int64
	seen  int
	bytes []byte
}

func (l *liar) ReadAt(p []byte, off int64) (int, error) {
	n, err := l.Device.ReadAt(p, off)
	if off <= l.off && l.off < off+int64(len(p)) {
		if l.seen++; l.seen > 1 {
			copy(p[l.off-off:], l.bytes)
		}
	}
	return n, err
}

// A head that says something else when the rest is read is not believed.
func TestLyingDevice(t *testing.T) {
	p := newPlain(t, 1, 40)
	var x *Transaction
	for range 2 {
		x = p.zeros(1)
		must(t, p.j.Append(x))
		p.land(x)
	}
	for i := range uint64(8) {
		p.put(1, i+1)
	}
	x = p.j.Begin(3)
	for i := range uint64(2) {
		x.Add(Entry{Block: i + 20, Sectors: AllSectors}, filled(1))
	}
	x.Add(Entry{Block: 30, Sectors: 1}, filled(1)[:sectorSize])
	must(t, p.j.Append(x))
	p.land(x)
	// The last takes three blocks, of which the reader's first window, of 20, has
	// only some. What the second has says four.
	b := make([]byte, 3*BlockSize)
	off := p.j.blockOff(18)
	_, err := p.legs[0].ReadAt(b, off)
	must(t, err)
	l, d := &p.j.layout, x.d
	d.blocks, d.payload = 4, 8
	d.encode(b)
	if back, err := l.decodeHead(b, d.epoch); err != nil || l.check(&back, b) != nil {
		t.Fatalf("not what would be believed: %v", err)
	}
	p.legs[0] = &liar{Device: p.legs[0], off: off, bytes: b}
	if r := p.scan(); r.Blocks != 9 {
		t.Errorf("%d blocks", r.Blocks)
	}
}
