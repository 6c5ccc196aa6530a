package journal

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"holdfast.dev/holdfast/device"
)

const (
	parallelTasks  = 4
	parallelBlocks = 6 // of each task
	parallelRounds = 300

	lastFill = byte((parallelRounds - 1) & 0xff)
)

// TestParallel has tasks that write, sync and read blocks of their own, and make
// room when it is short, all on one journal.
func TestParallel(t *testing.T) {
	p := &parallel{plain: newPlain(t, 2, 48)}
	p.home = device.NewMem(parallelTasks * parallelBlocks * BlockSize)
	var group sync.WaitGroup
	for id := range parallelTasks {
		group.Go(func() {
			for n := range parallelRounds {
				if err := p.round(uint64(id), byte(n)); err != nil {
					t.Errorf("task %d, round %d: %v", id, n, err)
					return
				}
			}
		})
	}
	group.Wait()
	must(t, p.j.Durable(p.j.Mark()))
	must(t, p.scan().Replay(func(v Replayed) error {
		_, err := p.home.WriteAt(v.Data, int64(v.Block)*BlockSize)
		return err
	}))
	for b := range int64(parallelTasks * parallelBlocks) {
		got := make([]byte, BlockSize)
		_, err := p.home.ReadAt(got, b*BlockSize)
		must(t, err)
		if !bytes.Equal(got, filled(lastFill)) {
			t.Errorf("block %d holds %d", b, got[0])
		}
	}
}

// parallel is a journal with homes for its blocks; home stands for every leg's.
type parallel struct {
	*plain
	home device.Device
	mu   sync.Mutex // held by who makes room
}

// round writes the task's blocks, syncs, and reads them back.
func (p *parallel) round(id uint64, fill byte) error {
	t := p.j.Begin(parallelBlocks)
	for b := range uint64(parallelBlocks) {
		t.Add(Entry{Block: id*parallelBlocks + b, Sectors: AllSectors}, filled(fill))
	}
	for {
		err := p.j.Append(t)
		if err == nil {
			break
		}
		if !errors.Is(err, ErrFull) {
			return err
		}
		if err := p.room(); err != nil {
			return err
		}
	}
	for _, w := range t.Writes() {
		for _, leg := range p.legs {
			if _, err := leg.WriteAt(w.P, w.Off); err != nil {
				return err
			}
		}
	}
	seq := t.Seq()
	p.j.Wrote(t, nil)
	if err := p.j.Await(seq); err != nil {
		return err
	}
	mark := p.j.Mark()
	if mark < seq {
		return errors.New("what was awaited is not written")
	}
	if err := p.j.Durable(mark); err != nil {
		return err
	}
	for b := range uint64(parallelBlocks) {
		if got := p.read(id*parallelBlocks + b); !bytes.Equal(got, filled(fill)) {
			return errors.New("reads otherwise than was written")
		}
	}
	return nil
}

// read reads a block, again if it has left the ring meanwhile.
func (p *parallel) read(block uint64) []byte {
	got := make([]byte, BlockSize)
	for {
		v := p.j.Find(block, block+1, nil)
		if len(v) == 0 {
			_, _ = p.home.ReadAt(got, int64(block)*BlockSize)
			return got
		}
		for _, x := range p.j.Pieces(&v[0], nil) {
			_, _ = p.legs[1].ReadAt(got[x.First*sectorSize:][:x.Len*sectorSize], x.Off)
		}
		if p.j.Holds(&v[0]) {
			return got
		}
	}
}

// room makes some.
func (p *parallel) room() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.j.Checkpoint(BlockSize)
	for i := range c.Home {
		v := &c.Home[i]
		if _, err := p.home.WriteAt(p.contentOf(v), int64(v.Block)*BlockSize); err != nil {
			return err
		}
	}
	if err := p.j.Await(c.Need); err != nil {
		return err
	}
	if err := p.j.Durable(p.j.Mark()); err != nil {
		return err
	}
	h, err := p.j.Release(c)
	if err != nil {
		return err
	}
	for _, leg := range p.legs {
		if _, err := leg.WriteAt(h.P, h.Off); err != nil {
			return err
		}
	}
	p.j.Landed(h, nil)
	return nil
}

func (p *parallel) contentOf(v *Version) []byte {
	got := make([]byte, BlockSize)
	for _, x := range p.j.Pieces(v, nil) {
		_, _ = p.legs[0].ReadAt(got[x.First*sectorSize:][:x.Len*sectorSize], x.Off)
	}
	return got
}
