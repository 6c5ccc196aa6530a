package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
)

const (
	rigBlocks  = 14
	rigSectors = rigBlocks * sectorsPerBlock
)

// change is one version of a sector. Its number fills the sector; zero stands
// for zeros.
type change struct {
	number uint32
	// seq is the transaction that carries it; zero if it was written home.
	seq uint64
	// done says that it was written whole.
	done bool
}

// model is what each sector may read as: what the last acknowledged flush
// covered comes first, then all written since, in order.
type model struct {
	sectors [rigSectors][]change
	next    uint32
	// direct are the blocks written home since then: a crash may leave them
	// different on each leg, and with a tuple that does not fit.
	direct [rigBlocks]bool
	// unsure are those of which a direct write failed on every leg: what they
	// are is known after the next crash.
	unsure [rigBlocks]bool
}

func newModel() *model {
	m := &model{}
	for s := range m.sectors {
		m.sectors[s] = []change{{done: true}}
	}
	return m
}

func (m *model) clone() *model {
	c := *m
	for s := range c.sectors {
		c.sectors[s] = slices.Clone(c.sectors[s])
	}
	return &c
}

// begin notes a write of sectors of a block that may be done in part from here
// on. It returns the whole block as it is to be.
func (m *model) begin(block int, sectors Sectors, seq uint64, zeros bool) []byte {
	number := uint32(0)
	if !zeros {
		m.next++
		number = m.next
	}
	for s := range sectorsPerBlock {
		if sectors&(1<<s) != 0 {
			at := block*sectorsPerBlock + s
			m.sectors[at] = append(m.sectors[at], change{number: number, seq: seq})
		}
	}
	return m.content(block, sectors, number)
}

// undo takes back a write that was not begun after all.
func (m *model) undo(block int, sectors Sectors) {
	for s := range sectorsPerBlock {
		if sectors&(1<<s) != 0 {
			all := &m.sectors[block*sectorsPerBlock+s]
			*all = (*all)[:len(*all)-1]
		}
	}
}

// content is a block as it was last written whole, with some sectors of a
// number.
func (m *model) content(block int, sectors Sectors, number uint32) []byte {
	b := make([]byte, BlockSize)
	for s := range sectorsPerBlock {
		n := number
		if sectors&(1<<s) == 0 {
			n = m.is(block*sectorsPerBlock + s).number
		}
		fill(b[s*sectorSize:][:sectorSize], block*sectorsPerBlock+s, n)
	}
	return b
}

func fill(b []byte, sector int, number uint32) {
	if number == 0 {
		clear(b)
		return
	}
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint32(b[i:], number)
		binary.LittleEndian.PutUint32(b[i+4:], uint32(sector))
	}
}

// is returns the newest version that was written whole.
func (m *model) is(sector int) change {
	all := m.sectors[sector]
	for i := len(all) - 1; ; i-- {
		if all[i].done {
			return all[i]
		}
	}
}

// done notes that a write begun before is whole.
func (m *model) done(block int, sectors Sectors, seq uint64) {
	for s := range sectorsPerBlock {
		if sectors&(1<<s) == 0 {
			continue
		}
		all := m.sectors[block*sectorsPerBlock+s]
		for i := range all {
			all[i].done = all[i].done || all[i].seq == seq
		}
	}
}

// flushed notes an acknowledged flush, of transactions up to mark.
func (m *model) flushed(mark uint64) {
	for s, all := range m.sectors {
		last := 0
		for i, c := range all {
			if c.done && c.seq <= mark {
				last = i
			}
		}
		m.sectors[s] = slices.Clone(all[last:])
		m.sectors[s][0].seq = 0
	}
	m.direct = m.unsure
}

// may checks a block as it was found after a crash.
func (m *model) may(block int, b []byte) error {
	for s := range sectorsPerBlock {
		sector, p := block*sectorsPerBlock+s, b[s*sectorSize:][:sectorSize]
		if !slices.ContainsFunc(m.sectors[sector], func(c change) bool { return holds(p, sector, c.number) }) {
			return fmt.Errorf("sector %d of block %d is %d, and may be %v", s, block, binary.LittleEndian.Uint32(p), m.sectors[sector])
		}
	}
	return nil
}

// settled takes a block as it was found for what it is.
func (m *model) settled(block int, b []byte) {
	for s := range sectorsPerBlock {
		number := binary.LittleEndian.Uint32(b[s*sectorSize:])
		m.sectors[block*sectorsPerBlock+s] = []change{{number: number, done: true}}
	}
}

func holds(p []byte, sector int, number uint32) bool {
	if binary.LittleEndian.Uint32(p) != number {
		return false
	}
	want := make([]byte, sectorSize)
	fill(want, sector, number)
	return string(want) == string(p)
}

// tupleOf is a guard that fits one block only.
func tupleOf(block int, b []byte) (t Tuple) {
	binary.LittleEndian.PutUint32(t[:], crc32.Checksum(b, castagnoli))
	binary.LittleEndian.PutUint32(t[4:], uint32(block)+1)
	return t
}
