package journal

import (
	"errors"
	"maps"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/faultdev"
)

// Transactions of one block take two of the ring: the n-th, from 0, is at block
// 2n of the ring.
func ringBlock(n int) uint64 { return headerBlocks + 2*uint64(n) }

// What has rotted on one leg comes from another, and the leg is charged.
func TestRotOnOneLeg(t *testing.T) {
	p := newPlain(t, 2, 40)
	want := map[uint64]byte{}
	for i := range 6 {
		p.put(byte(i+1), uint64(i))
		want[uint64(i)] = byte(i + 1)
	}
	p.flush()
	p.put(7, 6)
	want[6] = 7
	p.rot(0, ringBlock(1))
	p.rot(1, ringBlock(3))
	r := p.scan()
	if r.Lost != nil || r.Faults[0] == nil {
		t.Errorf("lost: %v, faults: %v", r.Lost, r.Faults)
	}
	if got := p.replayed(r); !maps.Equal(got, want) {
		t.Errorf("replayed %v, want %v", got, want)
	}
}

// A leg alone whose ring has rotted says so, and gives what comes after.
func TestRotOnTheOnlyLeg(t *testing.T) {
	for _, c := range []struct {
		name string
		rot  []int // transactions
		want map[uint64]byte
		lost bool
	}{
		{"none", nil, map[uint64]byte{0: 1, 1: 2, 2: 3, 3: 4, 4: 5}, false},
		{"one", []int{1}, map[uint64]byte{0: 1, 2: 3, 3: 4, 4: 5}, true},
		{"the first", []int{0}, map[uint64]byte{1: 2, 2: 3, 3: 4, 4: 5}, true},
		{"two", []int{1, 2}, map[uint64]byte{0: 1, 3: 4, 4: 5}, true},
		// Nothing made after the flush is left to tell of it.
		{"the last", []int{3, 4}, map[uint64]byte{0: 1, 1: 2, 2: 3}, false},
		// The last was not acknowledged.
		{"not durable", []int{4}, map[uint64]byte{0: 1, 1: 2, 2: 3, 3: 4}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlain(t, 1, 40)
			for i := range 4 {
				p.put(byte(i+1), uint64(i))
			}
			p.flush()
			p.put(5, 4)
			for _, i := range c.rot {
				p.rot(0, ringBlock(i))
			}
			r := p.scan()
			if (r.Lost != nil) != c.lost || r.Lost != nil && !errors.Is(r.Lost, ErrDamaged) {
				t.Errorf("lost: %v", r.Lost)
			}
			if got := p.replayed(r); !maps.Equal(got, c.want) {
				t.Errorf("replayed %v, want %v", got, c.want)
			}
		})
	}
}

// The header says what was durable when it was made.
func TestHeaderKnowsWhatWasDurable(t *testing.T) {
	p := newPlain(t, 1, 40)
	for i := range 4 {
		p.put(byte(i+1), uint64(i))
	}
	p.free(BlockSize)
	p.rot(0, ringBlock(3))
	if r := p.scan(); r.Lost == nil {
		t.Error("a durable transaction is gone, and nothing was said")
	}
}

// With its newest header gone, a leg alone still does not replay what
// transactions since say was released.
func TestRottenHeader(t *testing.T) {
	p := newPlain(t, 1, 40)
	for i := range 4 {
		p.put(byte(i+1), uint64(i))
	}
	p.free(3 * BlockSize)
	p.put(5, 4)
	p.rotHeader(0, p.j.headerSeq)
	r := p.scan()
	if got := p.replayed(r); !maps.Equal(got, map[uint64]byte{2: 3, 3: 4, 4: 5}) || r.Blocks != 3 {
		t.Errorf("replayed %v, %d blocks", got, r.Blocks)
	}
}

// rotHeader breaks the header with a sequence number.
func (p *plain) rotHeader(leg int, seq uint64) {
	p.t.Helper()
	_, err := p.legs[leg].WriteAt([]byte{0}, int64(seq&1)*BlockSize+40)
	must(p.t, err)
	_, err = p.legs[leg].WriteAt([]byte{1}, int64(seq&1)*BlockSize+offHeaderCRC)
	must(p.t, err)
}

// If the ring has gone on since, that is noticed, and nothing of it replayed.
func TestRottenHeaderOfALapAgo(t *testing.T) {
	p := newPlain(t, 2, 16)
	for i := range 4 {
		p.put(byte(i+1), uint64(i))
	}
	p.free(8 * BlockSize)
	for i := range 6 {
		p.put(byte(i+5), uint64(i))
	}
	p.rotHeader(0, p.j.headerSeq)
	if r := p.scan(); r.Lost != nil || r.Faults[1] != nil || len(p.replayed(r)) != 6 {
		t.Errorf("with the other leg: lost: %v, faults: %v", r.Lost, r.Faults)
	}
	p.legs = p.legs[:1]
	r := p.scan()
	if got := p.replayed(r); r.Lost == nil || len(got) != 0 {
		t.Errorf("alone: lost: %v, replayed %v", r.Lost, got)
	}
}

// A place that cannot be read is not taken for the end.
func TestUnreadable(t *testing.T) {
	p := newPlain(t, 2, 40)
	for i := range 4 {
		p.put(byte(i+1), uint64(i))
	}
	p.flush()
	f := faultdev.New(p.legs[0])
	f.Add(faultdev.Rule{On: faultdev.Read, Off: int64(ringBlock(2)) * BlockSize, Len: BlockSize, Forever: true, Err: device.ErrIO})
	p.legs[0] = f
	r := p.scan()
	if !errors.Is(r.Faults[0], device.ErrIO) || r.Faults[1] != nil || r.Lost != nil || len(p.replayed(r)) != 4 {
		t.Errorf("with the other leg: lost: %v, faults: %v", r.Lost, r.Faults)
	}
	p.legs = p.legs[:1]
	r = p.scan()
	if got := p.replayed(r); r.Lost == nil || len(got) != 2 {
		t.Errorf("alone: lost: %v, replayed %v", r.Lost, got)
	}
}

// Without a header there is nothing to begin with.
func TestNoHeader(t *testing.T) {
	p := newPlain(t, 2, 40)
	other := p.c
	other.Pool[3] = 1
	if _, err := Scan(other, p.legs); !errors.Is(err, ErrDamaged) {
		t.Errorf("another pool's journal: %v", err)
	}
	f := faultdev.New(p.legs[0])
	f.Add(faultdev.Rule{On: faultdev.Read, Forever: true, Err: device.ErrIO})
	if r, err := Scan(p.c, []device.Device{f, p.legs[1]}); err != nil || r.Faults[0] == nil {
		t.Errorf("with another leg: %v", err)
	}
	if _, err := Scan(p.c, []device.Device{f}); !errors.Is(err, device.ErrIO) {
		t.Errorf("a leg that cannot be read: %v", err)
	}
}

// A header that cannot be read may be the newest: only another leg, which has that
// too, says otherwise.
func TestUnreadableHeader(t *testing.T) {
	for slot := range int64(headerBlocks) {
		p := newPlain(t, 2, 40)
		p.put(1, 1)
		p.flush()
		f := faultdev.New(p.legs[0])
		f.Add(faultdev.Rule{On: faultdev.Read, Off: slot * BlockSize, Len: BlockSize, Forever: true, Err: device.ErrIO})
		p.legs[0] = f
		if r := p.scan(); r.Lost != nil || r.Faults[0] == nil || len(p.replayed(r)) != 1 {
			t.Errorf("slot %d, with the other leg: lost: %v, faults: %v", slot, r.Lost, r.Faults)
		}
		p.legs = p.legs[:1]
		if r := p.scan(); r.Lost == nil {
			t.Errorf("slot %d, alone: nothing is lost", slot)
		}
	}
}

// What was read may change before it is read again.
func TestChangesWhileReplayed(t *testing.T) {
	p := newPlain(t, 1, 40)
	p.put(1, 1)
	r := p.scan()
	p.put(2, 2)
	if err := r.Replay(func(Replayed) error { return nil }); !errors.Is(err, ErrDamaged) {
		t.Errorf("Replay = %v", err)
	}
	want := errors.New("no")
	if err := r.Replay(func(Replayed) error { return want }); err != want {
		t.Errorf("Replay = %v", err)
	}
}

// Level gives a leg what it lacks: transactions, and the newest header, so that
// the next one goes to the other slot there as well.
func TestLevel(t *testing.T) {
	p := newPlain(t, 2, 16)
	both := p.legs
	p.put(1, 1)
	p.flush()
	c := p.j.Checkpoint(BlockSize)
	for i := range 6 {
		p.legs = both[i%2 : i%2+1]
		p.put(byte(i+2), uint64(i+2))
	}
	p.legs = both[:1]
	h, err := p.j.Release(c)
	must(t, err)
	p.write(h.Write)
	p.legs = both
	must(t, p.scan().Level(func(w Write) error { p.write(w); return nil }))
	for i := range both {
		p.legs = both[i : i+1]
		r := p.scan()
		if got := p.replayed(r); len(got) != 6 || r.best.seq != h.h.seq {
			t.Errorf("leg %d has header %d and replays %v", i, r.best.seq, got)
		}
	}
}
