package journal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/faultdev"
	"holdfast.dev/holdfast/device/powercut"
)

// rig is the least that makes use of a journal: legs with blocks, their tuples
// and a journal, one task, and a model of what must be there. What it does in
// which order is what a mirror has to do.
type rig struct {
	rng   *rand.Rand
	c     Config
	legs  []*rigLeg // in sync
	j     *Journal
	model *model

	flights []*flight
	check   *checkpointing
}

// flight is a transaction that is being written.
type flight struct {
	t    *Transaction
	left []legWrite
	has  []Entry
}

type legWrite struct {
	leg *rigLeg
	Write
}

// rigLeg is a disk behind a device that can fail.
type rigLeg struct {
	*faultdev.Device
	disk *powercut.Disk
}

// use takes disks for its legs.
func (r *rig) use(disks []*powercut.Disk) {
	r.legs = nil
	for _, d := range disks {
		r.legs = append(r.legs, &rigLeg{faultdev.New(d), d})
	}
}

func (r *rig) supply() *powercut.Supply { return r.legs[0].disk.Supply() }

// checkpointing is a checkpoint that is under way.
type checkpointing struct {
	c    *Checkpoint
	left []Version
}

// The home of a block and its tuple follow the journal.
func (r *rig) homeOff(block int) int64  { return r.c.Off + r.c.Len + int64(block)*BlockSize }
func (r *rig) tupleOff(block int) int64 { return r.homeOff(rigBlocks) + int64(block)*sectorSize }

func rigConfig(ring int64) Config {
	return Config{Off: BlockSize, Len: (headerBlocks + ring) * BlockSize, Blocks: rigBlocks}
}

func (r *rig) diskSize() int64 { return r.tupleOff(rigBlocks) }

// newRig returns a rig on formatted legs.
func newRig(rng *rand.Rand, legs int, ring int64) (*rig, error) {
	r := &rig{rng: rng, c: rigConfig(ring), model: newModel()}
	supply := new(powercut.Supply)
	w, err := Format(r.c)
	if err != nil {
		return nil, err
	}
	for i := range legs {
		d := supply.NewDisk(fmt.Sprint(i), r.diskSize())
		for b := range rigBlocks {
			t := tupleOf(b, make([]byte, BlockSize))
			if _, err := d.WriteAt(t[:], r.tupleOff(b)); err != nil {
				return nil, err
			}
		}
	}
	r.use(supply.Disks())
	return r, errors.Join(r.write(w), r.flush())
}

// write writes to every leg.
func (r *rig) write(w Write) error {
	return r.each(func(l *rigLeg) error { _, err := l.WriteAt(w.P, w.Off); return err })
}

func (r *rig) flush() error { return r.each((*rigLeg).Flush) }

// each does something on every leg, in any order. A leg where it fails is in
// sync no more, unless it fails on all.
func (r *rig) each(do func(*rigLeg) error) (err error) {
	var failed []*rigLeg
	legs := slices.Clone(r.legs)
	for _, i := range r.rng.Perm(len(legs)) {
		fault := do(legs[i])
		if errors.Is(fault, powercut.ErrPowerLost) {
			return fault
		}
		if fault != nil {
			failed, err = append(failed, legs[i]), fault
		}
	}
	if len(failed) == len(r.legs) {
		return err
	}
	for _, l := range failed {
		r.fail(l)
	}
	return nil
}

// fail takes a leg out of those in sync; others remain.
func (r *rig) fail(l *rigLeg) {
	r.legs = slices.DeleteFunc(r.legs, func(o *rigLeg) bool { return o == l })
	for _, f := range slices.Clone(r.flights) {
		f.left = slices.DeleteFunc(f.left, func(w legWrite) bool { return w.leg == l })
		if len(f.left) == 0 {
			r.landed(f, nil)
		}
	}
}

// failed says whether an error is one that all legs had, and the power is on.
func failed(err error) bool {
	return errors.Is(err, device.ErrIO) && !errors.Is(err, powercut.ErrPowerLost)
}

// putHome writes sectors of a block, from the whole of it, and its tuple, home.
func (r *rig) putHome(block int, sectors Sectors, b []byte, tuple Tuple) error {
	for s := range sectorsPerBlock {
		if sectors&(1<<s) != 0 {
			at := int64(s) * sectorSize
			if err := r.write(Write{b[at:][:sectorSize], r.homeOff(block) + at}); err != nil {
				return err
			}
		}
	}
	return r.write(Write{tuple[:], r.tupleOff(block)})
}

// busy says whether a transaction with the block is being written.
func (r *rig) busy(block int) bool {
	for _, f := range r.flights {
		for _, e := range f.has {
			if e.Block == uint64(block) {
				return true
			}
		}
	}
	return false
}

// append makes a transaction of some blocks; it is written later.
func (r *rig) append() error {
	n := 1 + r.rng.IntN(4)
	t := r.j.Begin(n + r.rng.IntN(20))
	f := &flight{t: t}
	seq := r.j.head.seq
	for _, b := range r.rng.Perm(rigBlocks)[:n] {
		if r.busy(b) {
			continue
		}
		e := Entry{Block: uint64(b), Sectors: r.someSectors()}
		zeros := r.rng.IntN(5) == 0
		p := r.model.begin(b, e.Sectors, seq, zeros)
		e.Tuple = tupleOf(b, p)
		if zeros && !t.AddZeros(e) || !zeros && !t.Add(e, pick(nil, p, AllSectors, e.Sectors)) {
			r.model.undo(b, e.Sectors)
			break
		}
		f.has = append(f.has, e)
	}
	if len(f.has) == 0 {
		r.j.Drop(t)
		return nil
	}
	if err := r.j.Append(t); err != nil {
		for _, e := range f.has {
			r.model.undo(int(e.Block), e.Sectors)
		}
		r.j.Drop(t)
		if errors.Is(err, ErrFull) || errors.Is(err, ErrBroken) {
			return nil
		}
		return err
	}
	for _, w := range t.Writes() {
		for _, leg := range r.legs {
			f.left = append(f.left, legWrite{leg, w})
		}
	}
	r.flights = append(r.flights, f)
	return nil
}

func (r *rig) someSectors() Sectors {
	if r.rng.IntN(2) == 0 {
		return AllSectors
	}
	return Sectors(1 + r.rng.IntN(255))
}

// fly does n of the writes that are left, in any order.
func (r *rig) fly(n int) error {
	for ; n > 0 && len(r.flights) > 0; n-- {
		i := r.rng.IntN(len(r.flights))
		f := r.flights[i]
		k := r.rng.IntN(len(f.left))
		w := f.left[k]
		_, err := w.leg.WriteAt(w.P, w.Off)
		switch {
		case err == nil:
			f.left = slices.Delete(f.left, k, k+1)
			if len(f.left) == 0 {
				r.landed(f, nil)
			}
		case !failed(err):
			return err
		case len(r.legs) > 1:
			r.fail(w.leg)
		default:
			r.landed(f, err)
		}
	}
	return nil
}

func (r *rig) landed(f *flight, err error) {
	r.flights = slices.DeleteFunc(r.flights, func(o *flight) bool { return o == f })
	seq := f.t.Seq()
	r.j.Wrote(f.t, err)
	if err != nil {
		return
	}
	for _, e := range f.has {
		r.model.done(int(e.Block), e.Sectors, seq)
	}
}

// land does all writes that are left.
func (r *rig) land() error {
	for len(r.flights) > 0 {
		if err := r.fly(1); err != nil {
			return err
		}
	}
	return nil
}

// direct writes a block home, unless the journal holds something of it.
func (r *rig) direct() error {
	b := r.rng.IntN(rigBlocks)
	if r.busy(b) || len(r.j.Find(uint64(b), uint64(b)+1, nil)) > 0 {
		return nil
	}
	sectors := r.someSectors()
	p := r.model.begin(b, sectors, 0, r.rng.IntN(5) == 0)
	r.model.direct[b] = true
	err := r.putHome(b, sectors, p, tupleOf(b, p))
	if failed(err) {
		r.model.unsure[b] = true
		return nil
	}
	if err == nil {
		r.model.done(b, sectors, 0)
	}
	return err
}

// sync is an acknowledged flush.
func (r *rig) sync() error {
	mark := r.j.Mark()
	if err := r.flush(); failed(err) {
		r.j.Break(err)
		return nil
	} else if err != nil {
		return err
	}
	if err := r.j.Durable(mark); err != nil {
		if errors.Is(err, ErrBroken) {
			return nil
		}
		return err
	}
	r.model.flushed(mark)
	return nil
}

// whole returns a block as the journal and a leg have it, and its tuple.
func (r *rig) whole(v *Version, block int) ([]byte, Tuple, error) {
	d := r.legs[r.rng.IntN(len(r.legs))]
	b := make([]byte, BlockSize)
	var tuple Tuple
	_, err := d.ReadAt(b, r.homeOff(block))
	if err == nil {
		_, err = d.ReadAt(tuple[:], r.tupleOff(block))
	}
	if v == nil {
		return b, tuple, err
	}
	for _, p := range r.j.Pieces(v, nil) {
		if err == nil {
			_, err = d.ReadAt(b[p.First*sectorSize:][:p.Len*sectorSize], p.Off)
		}
	}
	for s := range sectorsPerBlock {
		if v.Zeros&(1<<s) != 0 {
			clear(b[s*sectorSize:][:sectorSize])
		}
	}
	return b, v.Tuple, err
}

// read checks that a block is what was last written.
func (r *rig) read(block int) error {
	if r.model.unsure[block] {
		return nil
	}
	var v *Version
	if found := r.j.Find(uint64(block), uint64(block)+1, nil); len(found) > 0 {
		v = &found[0]
	}
	b, tuple, err := r.whole(v, block)
	if err != nil {
		return err
	}
	for s := range sectorsPerBlock {
		if c := r.model.is(block*sectorsPerBlock + s); !holds(b[s*sectorSize:][:sectorSize], block*sectorsPerBlock+s, c.number) {
			return fmt.Errorf("sector %d of block %d reads as %x, and is %v", s, block, b[s*sectorSize:][:8], c)
		}
	}
	if tuple != tupleOf(block, b) {
		return fmt.Errorf("block %d reads with a tuple that does not fit", block)
	}
	return nil
}

// legsEqual checks a block that no direct write can have left different.
func (r *rig) legsEqual(block int) error {
	var first []byte
	for _, d := range r.legs {
		b := make([]byte, BlockSize+len(Tuple{}))
		if _, err := d.ReadAt(b[:BlockSize], r.homeOff(block)); err != nil {
			return err
		}
		if _, err := d.ReadAt(b[BlockSize:], r.tupleOff(block)); err != nil {
			return err
		}
		if first == nil {
			first = b
		}
		if !bytes.Equal(first, b) {
			return fmt.Errorf("H3: block %d differs between the legs", block)
		}
	}
	return nil
}

func (r *rig) devices() (all []device.Device) {
	for _, d := range r.legs {
		all = append(all, d)
	}
	return all
}
