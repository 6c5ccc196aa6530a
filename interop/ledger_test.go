package interop

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync"
)

// cell is the unit in which the ledger remembers: it is written whole, with
// what says which cell and version it is, and a checksum over all of it.
type cell struct {
	off, size int64

	// history holds what the cell may contain after a crash: the version that
	// the last acknowledged flush covered, and all issued since, in order. It is
	// guarded by ledger.mu.
	history []version
	// issued is the newest version ever sent, acked the newest whose write was
	// acknowledged. Both are guarded by ledger.mu. A version that a crash took
	// away is never sent again, so that its return would show.
	issued, acked uint64
}

// version is one state of a cell.
type version struct {
	number uint64
	zero   bool // written as zeros, or never
}

// ledger knows what a volume may contain. Each cell has one writer at a time,
// who waits for each reply, so versions have an order.
//
// Most cells are 4 KiB; every eighth page is cut into sectors, so that pages of
// which only a part was written are covered too.
type ledger struct {
	mu    sync.Mutex
	cells []cell
}

const (
	pageSize   = 4096
	sectorSize = 512
)

func newLedger(size int64) *ledger {
	l := &ledger{}
	add := func(off, n int64) {
		l.cells = append(l.cells, cell{off: off, size: n, history: []version{{zero: true}}})
	}
	for off := int64(0); off < size; off += pageSize {
		if off/pageSize%8 != 7 {
			add(off, pageSize)
			continue
		}
		for s := int64(0); s < pageSize; s += sectorSize {
			add(off+s, sectorSize)
		}
	}
	return l
}

// issue notes that cells [from, to) are about to be written and returns the
// bytes to write; nil if zero.
func (l *ledger) issue(from, to int, zero bool) (data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := from; i < to; i++ {
		c := &l.cells[i]
		c.issued++
		c.history = append(c.history, version{number: c.issued, zero: zero})
		if !zero {
			data = append(data, encode(uint64(i), c.issued, c.size)...)
		}
	}
	return data
}

// acknowledge notes that the last version issued of cells [from, to) is written,
// and durable if it was sent with FUA.
func (l *ledger) acknowledge(from, to int, fua bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := from; i < to; i++ {
		c := &l.cells[i]
		c.acked = c.issued
		if fua {
			c.settle(c.acked)
		}
	}
}

// written lists the acknowledged version of every cell: what a flush that is
// sent from here on covers.
func (l *ledger) written() []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	covered := make([]uint64, len(l.cells))
	for i := range l.cells {
		covered[i] = l.cells[i].acked
	}
	return covered
}

// flushed notes that a flush was acknowledged that covered these versions.
func (l *ledger) flushed(covered []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, v := range covered {
		l.cells[i].settle(v)
	}
}

// settle forgets versions older than v, which a crash cannot bring back any
// more. Requires ledger.mu.
func (c *cell) settle(v uint64) {
	for c.history[0].number < v {
		c.history = c.history[1:]
	}
}

// verify checks what was read of cell i, and takes it as what the cell holds:
// reading it again must not give anything else.
func (l *ledger) verify(i int, data []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &l.cells[i]
	number, zero, err := decode(uint64(i), data)
	if err != nil {
		return fmt.Errorf("cell %d, %d bytes at %d: %w", i, c.size, c.off, err)
	}
	for _, v := range c.history {
		if v.zero == zero && (zero || v.number == number) {
			c.history, c.acked = []version{v}, v.number
			return nil
		}
	}
	return fmt.Errorf("cell %d, %d bytes at %d, holds version %d (zero: %v), which is none of %v: "+
		"the last acknowledged flush and what was written since", i, c.size, c.off, number, zero, c.history)
}

// encode makes a cell: its number, its version, bytes that follow from both, and
// a checksum.
func encode(cell, version uint64, size int64) []byte {
	p := make([]byte, size)
	binary.LittleEndian.PutUint64(p, cell)
	binary.LittleEndian.PutUint64(p[8:], version)
	fill := cell*0x9e3779b97f4a7c15 + version*0xbf58476d1ce4e5b9
	for i := 16; i < len(p)-8; i += 8 {
		binary.LittleEndian.PutUint64(p[i:], fill)
	}
	binary.LittleEndian.PutUint32(p[len(p)-4:], crc32.ChecksumIEEE(p[:len(p)-4]))
	return p
}

// decode is the reverse. It refuses a mix of two versions, and a cell that
// belongs elsewhere.
func decode(cell uint64, p []byte) (version uint64, zero bool, err error) {
	zero = true
	for _, b := range p {
		zero = zero && b == 0
	}
	if zero {
		return 0, true, nil
	}
	if got := binary.LittleEndian.Uint32(p[len(p)-4:]); got != crc32.ChecksumIEEE(p[:len(p)-4]) {
		return 0, false, fmt.Errorf("a mix: the checksum is wrong; it says cell %d, version %d",
			binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:]))
	}
	if at := binary.LittleEndian.Uint64(p); at != cell {
		return 0, false, fmt.Errorf("it holds what was written to cell %d", at)
	}
	return binary.LittleEndian.Uint64(p[8:]), false, nil
}
