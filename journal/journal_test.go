package journal

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"holdfast.dev/holdfast/internal/invariants"
)

func TestLayout(t *testing.T) {
	for _, c := range []struct {
		off, len int64
		ok       bool
	}{
		{0, (headerBlocks + minRing) * BlockSize, true},
		{BlockSize, (headerBlocks + maxRing) * BlockSize, true},
		{0, (headerBlocks + minRing - 1) * BlockSize, false},
		{0, (headerBlocks + maxRing + 1) * BlockSize, false},
		{1, (headerBlocks + minRing) * BlockSize, false},
		{-BlockSize, (headerBlocks + minRing) * BlockSize, false},
		{0, (headerBlocks+minRing)*BlockSize + 1, false},
		{0, -BlockSize, false},
		{1<<63 - BlockSize, (headerBlocks + minRing) * BlockSize, false},
	} {
		_, err := Format(Config{Off: c.off, Len: c.len})
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%d bytes at %d: %v", c.len, c.off, err)
		}
	}
}

// A transaction in the smallest ring has room for a whole block, and in any has
// room for all it was begun for, up to its limits.
func TestRoomOfATransaction(t *testing.T) {
	for _, c := range []struct {
		ring, want int64
	}{{minRing, 1}, {13, 2}, {100, 24}, {4 * 258, MaxEntries}, {20000, MaxEntries}} {
		p := newPlain(t, 1, c.ring)
		n := int64(0)
		x := p.j.Begin(1000)
		for x.Add(Entry{Block: uint64(n), Sectors: AllSectors}, filled(1)) {
			n++
		}
		if n != c.want {
			t.Errorf("ring of %d: %d blocks", c.ring, n)
		}
		must(t, p.j.Append(x))
		p.land(x)
		for n := range 20 {
			x := p.j.Begin(n)
			if !x.Add(Entry{Block: 1, Sectors: AllSectors}, filled(1)) {
				t.Errorf("begun for %d there is no room for one", n)
			}
			p.j.Drop(x)
		}
	}
	p := newPlain(t, 1, minRing)
	if err := p.j.Append(p.j.Begin(1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("an empty transaction: %v", err)
	}
}

// The ring takes what fits and no more, by blocks and by entries, and goes on
// when something was freed.
func TestFull(t *testing.T) {
	p := newPlain(t, 1, 16)
	for lap := range 5 {
		for i := range 8 {
			p.put(byte(lap), uint64(i))
		}
		x := p.j.Begin(1)
		x.AddZeros(Entry{Block: 1, Sectors: 1})
		if err := p.j.Append(x); !errors.Is(err, ErrFull) {
			t.Fatalf("lap %d: %v", lap, err)
		}
		p.free(BlockSize)
		must(t, p.j.Append(x))
		p.land(x)
		p.free(1 << 20)
	}
	for i := range 4 * entriesPerBlock {
		x := p.j.Begin(4)
		for k := range 2 {
			x.AddZeros(Entry{Block: uint64(2*i + k), Sectors: 1})
		}
		must(t, p.j.Append(x))
		p.land(x)
		if i == 4*entriesPerBlock-1 {
			p.free(1)
			must(t, p.j.Append(p.zeros(2)))
		}
	}
	if s := p.j.Status(); s.Used != 8*BlockSize || s.Ring != 16*BlockSize || s.Blocks != 14 || s.Transactions == 0 {
		t.Errorf("%+v", s)
	}
	p = newPlain(t, 1, 16)
	for range 4 {
		x := p.zeros(8)
		must(t, p.j.Append(x))
		p.land(x)
	}
	if err := p.j.Append(p.zeros(1)); !errors.Is(err, ErrFull) {
		t.Errorf("too many entries: %v", err)
	}
}

// zeros is a transaction of n entries without payload.
func (p *plain) zeros(n int) *Transaction {
	x := p.j.Begin(n)
	for i := range n {
		if !x.AddZeros(Entry{Block: uint64(i), Sectors: AllSectors}) {
			p.t.Fatalf("no room for %d entries", n)
		}
	}
	return x
}

// A transaction that meets the ring's end is written in two parts.
func TestWrap(t *testing.T) {
	p := newPlain(t, 1, 17)
	for i := range 40 {
		x := p.put(byte(i), 3)
		if want := (i*2)%17 == 16; (len(x.Writes()) == 2) != want {
			t.Fatalf("transaction %d has %d parts", i, len(x.Writes()))
		}
		r := p.scan()
		if got := p.replayed(r); got[3] != byte(i) {
			t.Fatalf("after %d: %v", i, got)
		}
		if v := p.j.Find(3, 4, nil); !bytes.Equal(p.content(&v[0]), filled(byte(i))) {
			t.Fatalf("after %d it reads otherwise", i)
		}
		p.free(BlockSize)
	}
}

// content reads a version's sectors, zeros where it has none.
func (p *plain) content(v *Version) []byte {
	p.t.Helper()
	b := make([]byte, BlockSize)
	for _, x := range p.j.Pieces(v, nil) {
		_, err := p.legs[0].ReadAt(b[x.First*sectorSize:][:x.Len*sectorSize], x.Off)
		must(p.t, err)
	}
	return b
}

// Nothing is acknowledged past a gap.
func TestGap(t *testing.T) {
	p := newPlain(t, 1, 40)
	one, two := p.zeros(1), p.j.Begin(1)
	two.AddZeros(Entry{Block: 9, Sectors: 1})
	must(t, p.j.Append(one))
	must(t, p.j.Append(two))
	p.land(two)
	if m := p.j.Mark(); m != 0 {
		t.Errorf("Mark = %d with the first on its way", m)
	}
	p.land(one)
	if m := p.j.Mark(); m != two.Seq() {
		t.Errorf("Mark = %d", m)
	}
}

// Await sleeps until a gap is closed, or the journal breaks.
func TestAwait(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(p *plain, one *Transaction)
		want error
	}{
		{"written", func(p *plain, one *Transaction) { p.land(one) }, nil},
		{"failed", func(p *plain, one *Transaction) { p.j.Wrote(one, errTrouble) }, errTrouble},
		{"a flush was lost", func(p *plain, _ *Transaction) { p.j.Break(errTrouble) }, errTrouble},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlain(t, 1, 40)
				one := p.zeros(1)
				must(t, p.j.Append(one))
				seq := p.put(1, 9).Seq()
				returned := false
				go func() {
					if err := p.j.Await(seq); !errors.Is(err, c.want) {
						t.Errorf("Await = %v", err)
					}
					returned = true
				}()
				synctest.Wait()
				if returned {
					t.Error("it did not wait")
				}
				c.end(p, one)
				synctest.Wait()
				if !returned {
					t.Error("it still waits")
				}
			})
		})
	}
}

// What was found leaves the ring with a checkpoint, which has it in order.
func TestHolds(t *testing.T) {
	p := newPlain(t, 1, 40)
	p.put(1, 9, 4, 7, 2, 1)
	p.put(1, 8)
	p.flush()
	var home []uint64
	for _, v := range p.j.Checkpoint(BlockSize).Home {
		home = append(home, v.Block)
	}
	if !slices.Equal(home, []uint64{1, 2, 4, 7, 9}) {
		t.Errorf("the checkpoint writes %v", home)
	}
	early, late := p.j.Find(9, 10, nil)[0], p.j.Find(8, 9, nil)[0]
	p.free(BlockSize)
	if p.j.Holds(&early) || !p.j.Holds(&late) {
		t.Errorf("Holds is %v and %v", p.j.Holds(&early), p.j.Holds(&late))
	}
}

// Nothing is appended before the header of Open has landed.
func TestOpening(t *testing.T) {
	p := newPlain(t, 1, 40)
	p.put(1, 1)
	j, h := p.scan().Open()
	x := j.Begin(1)
	x.AddZeros(Entry{Sectors: 1})
	if err := j.Append(x); !errors.Is(err, ErrBroken) {
		t.Errorf("Append = %v", err)
	}
	p.write(h.Write)
	j.Landed(h, nil)
	must(t, j.Append(x))
}

// A transaction that failed breaks the journal, and a drain mends it.
func TestBroken(t *testing.T) {
	p := newPlain(t, 1, 40)
	p.put(1, 1)
	p.flush()
	x, y := p.zeros(1), p.j.Begin(1)
	y.AddZeros(Entry{Block: 9, Sectors: 1})
	must(t, p.j.Append(x))
	must(t, p.j.Append(y))
	seq := y.Seq()
	why := errors.New("all gone")
	p.j.Wrote(x, why)
	if _, err := p.j.Drain(); !errors.Is(err, ErrEarly) {
		t.Errorf("Drain with one under way: %v", err)
	}
	p.j.Wrote(y, nil)
	for name, err := range map[string]error{
		"Durable": p.j.Durable(p.j.Mark()), "Append": p.j.Append(p.zeros(1)), "Await": p.j.Await(seq), "Status": p.j.brokenErr(),
	} {
		if !errors.Is(err, ErrBroken) || !errors.Is(err, why) {
			t.Errorf("%s = %v", name, err)
		}
	}
	must(t, p.j.Await(1))
	c, err := p.j.Drain()
	must(t, err)
	if len(c.Home) != 2 {
		t.Errorf("%d blocks to write home", len(c.Home))
	}
	h, err := p.j.Release(c)
	must(t, err)
	p.j.Landed(h, why)
	if p.j.Status().Broken == nil {
		t.Error("mended by a header that was not written")
	}
	h, err = p.j.Release(c)
	must(t, err)
	p.j.Landed(h, nil)
	if s := p.j.Status(); s.Broken != nil || s.Used != 0 || s.Blocks != 0 {
		t.Errorf("after a drain: %+v", s)
	}
	must(t, p.j.Await(seq))
	must(t, p.j.Durable(p.j.Mark()))
	if _, err := p.j.Release(c); !errors.Is(err, ErrEarly) {
		t.Errorf("Release of an old checkpoint: %v", err)
	}
}

// A drain that was overtaken does not empty the ring, nor mend it.
func TestDrainOvertaken(t *testing.T) {
	p := newPlain(t, 1, 40)
	p.put(1, 1)
	c, err := p.j.Drain()
	must(t, err)
	p.put(2, 2)
	if _, err := p.j.Release(c); !errors.Is(err, ErrEarly) {
		t.Errorf("Release = %v", err)
	}
	c, err = p.j.Drain()
	must(t, err)
	h, err := p.j.Release(c)
	must(t, err)
	if _, err := p.j.Release(c); !errors.Is(err, ErrEarly) {
		t.Errorf("Release beside another: %v", err)
	}
	p.put(3, 3)
	p.j.Break(errTrouble)
	p.j.Landed(h, nil)
	if s := p.j.Status(); s.Broken == nil || s.Blocks != 1 {
		t.Errorf("%+v", s)
	}
}

// A ring that has taken what it takes goes on without allocating.
func TestAllocations(t *testing.T) {
	if invariants.Enabled {
		t.Skip("invariants allocate")
	}
	p := newPlain(t, 1, 64)
	data := filled(1)
	var found []Version
	var pieces []Piece
	once := func() {
		x := p.j.Begin(3)
		for b := range uint64(3) {
			x.Add(Entry{Block: b, Sectors: AllSectors}, data)
		}
		if err := p.j.Append(x); err != nil {
			t.Fatal(err)
		}
		p.j.Wrote(x, nil)
		found = p.j.Find(0, 2, found[:0])
		pieces = p.j.Pieces(&found[0], pieces[:0])
		must(t, p.j.Durable(p.j.Mark()))
	}
	for range 4 {
		once()
	}
	p.free(1 << 20)
	if n := testing.AllocsPerRun(2, once); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// What fills a transaction up does not come from one before it.
func TestPadding(t *testing.T) {
	p := newPlain(t, 1, 40)
	p.put(0xff, 1, 2, 3)
	x := p.j.Begin(3)
	x.Add(Entry{Block: 1, Sectors: 1}, filled(0)[:sectorSize])
	must(t, p.j.Append(x))
	if b := x.Writes()[0].P; len(b) != BlockSize || !bytes.Equal(b[txnHeader+entrySize:], make([]byte, BlockSize-txnHeader-entrySize)) {
		t.Errorf("%d bytes, not all zeros after the entry", len(b))
	}
	p.land(x)
}
