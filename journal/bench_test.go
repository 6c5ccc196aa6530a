package journal

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"holdfast.dev/holdfast/device"
)

const (
	benchRing = 4096 // blocks
	benchHome = 64 << 20
)

// benchFile is a file that holds a journal, and homes after it.
func benchFile(b *testing.B) (*plain, *device.File) {
	b.Helper()
	c := Config{Len: (headerBlocks + benchRing) * BlockSize, Blocks: benchHome / BlockSize}
	path := filepath.Join(b.TempDir(), "leg")
	must(b, device.CreateFile(path, c.Len+benchHome))
	f, err := device.OpenFile(path, device.FileOptions{})
	must(b, err)
	b.Cleanup(func() { must(b, f.Close()) })
	zeros := device.Aligned(1 << 20)
	for off := int64(0); off < f.Size(); off += int64(len(zeros)) { // so that no write meets a hole
		_, err := f.WriteAt(zeros[:min(int64(len(zeros)), f.Size()-off)], off)
		must(b, err)
	}
	p := &plain{t: b, c: c, legs: []device.Device{f}}
	w, err := Format(c)
	must(b, err)
	p.write(w)
	must(b, f.Flush())
	p.open()
	return p, f
}

// BenchmarkSync makes a number of scattered blocks durable: through the journal,
// the checkpoints left out, and at their homes.
func BenchmarkSync(b *testing.B) {
	p, f := benchFile(b)
	data := device.Aligned(BlockSize)
	for i := range data {
		data[i] = byte(i)
	}
	for _, n := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("journal/blocks=%d", n), func(b *testing.B) {
			b.SetBytes(int64(n) * BlockSize)
			b.ReportAllocs()
			for b.Loop() {
				t := p.j.Begin(n)
				for range n {
					t.Add(Entry{Block: rand.Uint64N(p.c.Blocks), Sectors: AllSectors}, data)
				}
				if p.j.Append(t) != nil {
					p.free(benchRing / 2 * BlockSize)
					must(b, p.j.Append(t))
				}
				p.land(t)
				mark := p.j.Mark()
				must(b, f.Flush())
				must(b, p.j.Durable(mark))
			}
		})
		b.Run(fmt.Sprintf("home/blocks=%d", n), func(b *testing.B) {
			b.SetBytes(int64(n) * BlockSize)
			b.ReportAllocs()
			for b.Loop() {
				for range n {
					_, err := f.WriteAt(data, p.c.Len+rand.Int64N(benchHome/BlockSize)*BlockSize)
					must(b, err)
				}
				must(b, f.Flush())
			}
		})
	}
}

// BenchmarkAppend is the journal's own part of a sync: copy, checksum, index.
func BenchmarkAppend(b *testing.B) {
	data := filled(1)
	for _, n := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("blocks=%d", n), func(b *testing.B) {
			p := newPlain(b, 1, maxRing)
			b.SetBytes(int64(n) * BlockSize)
			b.ReportAllocs()
			for b.Loop() {
				t := p.j.Begin(n)
				for i := range n {
					t.Add(Entry{Block: uint64(i), Sectors: AllSectors}, data)
				}
				if p.j.Append(t) != nil {
					p.j.Drop(t)
					p.free(maxRing * BlockSize)
					continue
				}
				p.j.Wrote(t, nil)
			}
		})
	}
}

// BenchmarkRecovery reads and replays a full ring of the largest size, with
// transactions of one block.
func BenchmarkRecovery(b *testing.B) {
	p := newPlain(b, 1, maxRing)
	for i := range uint64(maxRing / 2) {
		p.put(byte(i), i)
	}
	b.SetBytes(maxRing * BlockSize)
	for b.Loop() {
		must(b, p.scan().Replay(func(Replayed) error { return nil }))
	}
}
