package journal

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"holdfast.dev/holdfast/device"
)

// testing legs: a journal alone, in memory.
type plain struct {
	t    testing.TB
	c    Config
	legs []device.Device
	j    *Journal
}

const plainBlocks = 1 << 20

func newPlain(t testing.TB, legs int, ring int64) *plain {
	t.Helper()
	c := Config{Len: (headerBlocks + ring) * BlockSize, Blocks: plainBlocks}
	p := &plain{t: t, c: c}
	for range legs {
		p.legs = append(p.legs, device.NewMem(c.Len))
	}
	w, err := Format(c)
	must(t, err)
	p.write(w)
	p.open()
	return p
}

// open replays nothing, and opens what the legs hold.
func (p *plain) open() {
	p.t.Helper()
	j, h := p.scan().Open()
	p.write(h.Write)
	j.Landed(h, nil)
	p.j = j
}

func (p *plain) scan() *Recovery {
	p.t.Helper()
	r, err := Scan(p.c, p.legs)
	must(p.t, err)
	return r
}

func (p *plain) write(w Write) {
	p.t.Helper()
	for _, d := range p.legs {
		_, err := d.WriteAt(w.P, w.Off)
		must(p.t, err)
	}
}

// put appends whole blocks, each filled with one byte, as one transaction.
func (p *plain) put(fill byte, blocks ...uint64) (t *Transaction) {
	p.t.Helper()
	t = p.j.Begin(len(blocks))
	for _, b := range blocks {
		if !t.Add(Entry{Block: b, Sectors: AllSectors, Tuple: Tuple{fill}}, filled(fill)) {
			p.t.Fatalf("no room for %d blocks", len(blocks))
		}
	}
	must(p.t, p.j.Append(t))
	p.land(t)
	return t
}

func (p *plain) land(t *Transaction) {
	p.t.Helper()
	for _, w := range t.Writes() {
		p.write(w)
	}
	p.j.Wrote(t, nil)
}

func (p *plain) flush() {
	p.t.Helper()
	must(p.t, p.j.Durable(p.j.Mark()))
}

// free frees at least n bytes of the ring, as if all of it were home.
func (p *plain) free(n int64) {
	p.t.Helper()
	p.flush()
	h, err := p.j.Release(p.j.Checkpoint(n))
	must(p.t, err)
	p.write(h.Write)
	p.j.Landed(h, nil)
}

// replayed returns what replay writes home, whole blocks of one byte, by block.
func (p *plain) replayed(r *Recovery) map[uint64]byte {
	p.t.Helper()
	got := map[uint64]byte{}
	must(p.t, r.Replay(func(v Replayed) error {
		if v.Sectors != AllSectors || !bytes.Equal(v.Data, filled(v.Data[0])) || v.Tuple != (Tuple{v.Data[0]}) {
			p.t.Errorf("block %d: sectors %#x, tuple %x", v.Block, v.Sectors, v.Tuple)
		}
		got[v.Block] = v.Data[0]
		return nil
	}))
	return got
}

// rot flips a bit of a leg, in a block of the area.
func (p *plain) rot(leg int, block uint64) {
	p.t.Helper()
	b := make([]byte, 1)
	at := int64(block)*BlockSize + rand.Int64N(3000) // not in what fills a block up
	_, err := p.legs[leg].ReadAt(b, at)
	must(p.t, err)
	b[0] ^= 1
	_, err = p.legs[leg].WriteAt(b, at)
	must(p.t, err)
}

func filled(b byte) []byte { return bytes.Repeat([]byte{b}, BlockSize) }
