package mirror

import (
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/devicetest"
	"holdfast.dev/holdfast/device/powercut"
	"holdfast.dev/holdfast/internal/guard"
)

// scripts are what is done with one block and its neighbour: a and b go to the ring,
// h is written by itself, f flushes, c takes the ring home, d discards, x closes.
var scripts = []string{"afhf", "afbfx", "ax", "afchf", "afhfchf", "afcfhfaf", "afbfchfaf", "afdfhf", "afafafcaf", "hfafcdf", "abfchf"}

// What is written over a block of the ring, wherever it goes, is newer than it,
// and stays so whenever the power goes, also in the midst of replay.
func TestNewerThanTheRing(t *testing.T) {
	r := devicetest.Rand(devicetest.Seed(t), 0)
	for legs := 1; legs <= 2; legs++ {
		base := crashBases(t, guard.CRC32C, 18*BlockSize)[legs-1]
		for _, script := range scripts {
			for n := 1; ; n++ {
				c := newCrash(r.Uint64() | 1)
				lost, err := c.follow(script, base, n)
				if err != nil {
					t.Fatalf("%d legs, %s, cut in operation %d: %v", legs, script, n, err)
				}
				if !lost {
					break
				}
			}
		}
	}
}

// follow opens the pool and follows the script until the n-th operation, brings it
// up again until another, and then whole.
func (c *crash) follow(script string, base []*powercut.Disk, n int) (lost bool, err error) {
	legs, disks := powered(base, c.rng.Uint64(), powercut.Nothing)
	disks[0].Supply().CutAfter(n)
	if m, err := Open(legs, Options{Manual: true}); err == nil {
		for _, step := range script {
			c.act(m, step)
		}
		m.Abandon()
	}
	lost = disks[0].Supply().Lost()
	c.model.crashed()
	for i := range c.touched {
		c.touched[i] = true
	}
	legs, disks = powered(disks, c.rng.Uint64(), powercut.Mixed)
	disks[0].Supply().CutAfter(1 + c.rng.IntN(40))
	if m, err := Open(legs, Options{Manual: true}); err == nil {
		m.Abandon()
	}
	_, disks = powered(disks, c.rng.Uint64(), powercut.Mixed)
	return lost, c.recover(disks)
}

func (c *crash) act(m *Mirror, step rune) {
	const perBlock = BlockSize / device.SectorSize
	version, p := c.model.bytes(perBlock)
	first := 2 * perBlock
	switch step {
	case 'a', 'b':
		if step == 'b' {
			first += perBlock
		}
		n, err := m.WriteBatch([]device.Part{{P: p, Off: int64(first) * device.SectorSize}})
		c.model.wrote(first, perBlock, version, n == 1 && err == nil)
	case 'h':
		_, err := m.WriteAt(p, int64(first)*device.SectorSize)
		c.model.wrote(first, perBlock, version, err == nil)
	case 'd':
		c.model.wrote(first, perBlock, 0, m.Discard(int64(first)*device.SectorSize, BlockSize) == nil)
	case 'f':
		if m.Flush() == nil {
			c.model.flushed()
		}
	case 'x':
		if m.Close() == nil {
			c.model.flushed()
		}
	case 'c':
		_ = m.Checkpoint() // a later flush tells
	}
}
