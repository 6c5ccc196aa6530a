package journal

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// TestAgainstAMap appends random transactions, some entries of which are for the
// same sectors, and checks that Find, and Replay after a crash, give what a map
// would: the newest of each sector, and each once. (Zeros that one transaction
// has twice may come twice.)
func TestAgainstAMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := newPlain(t, 1, int64(rapid.IntRange(minRing, 200).Draw(rt, "ring")))
		want := map[uint64]map[int]byte{} // by block and sector; zero is zeros
		tuples := map[uint64]Tuple{}
		n := byte(0)
		for range rapid.IntRange(0, 12).Draw(rt, "transactions") {
			x := p.j.Begin(rapid.IntRange(1, 30).Draw(rt, "room"))
			var now []func()
			for range rapid.IntRange(1, 30).Draw(rt, "entries") {
				n++
				e := Entry{
					Block:   uint64(rapid.IntRange(0, 9).Draw(rt, "block")),
					Sectors: Sectors(rapid.IntRange(1, 255).Draw(rt, "sectors")),
					Tuple:   Tuple{n, 1},
				}
				byteOf := n
				if rapid.Bool().Draw(rt, "zeros") {
					byteOf = 0
				}
				if byteOf != 0 && !x.Add(e, filled(byteOf)[:e.Sectors.Len()*sectorSize]) || byteOf == 0 && !x.AddZeros(e) {
					break
				}
				now = append(now, func() {
					if want[e.Block] == nil {
						want[e.Block] = map[int]byte{}
					}
					tuples[e.Block] = e.Tuple
					for s := range sectorsPerBlock {
						if e.Sectors&(1<<s) != 0 {
							want[e.Block][s] = byteOf
						}
					}
				})
			}
			if len(now) == 0 || p.j.Append(x) != nil {
				p.j.Drop(x)
				break
			}
			p.land(x)
			for _, do := range now {
				do()
			}
		}
		checkFind(rt, p, want, tuples)
		checkReplay(rt, p, want, tuples)
	})
}

func checkFind(t *rapid.T, p *plain, want map[uint64]map[int]byte, tuples map[uint64]Tuple) {
	for _, to := range []uint64{10, plainBlocks} { // short and long ranges are searched differently
		all := p.j.Find(0, to, nil)
		if len(all) != len(want) {
			t.Fatalf("found %d blocks of %d", len(all), len(want))
		}
		for i, v := range all {
			if i > 0 && all[i-1].Block >= v.Block {
				t.Fatal("not ascending")
			}
			b := p.content(&v)
			for s := range sectorsPerBlock {
				fill, is := want[v.Block][s]
				if is != (v.Sectors&(1<<s) != 0) || is && (fill == 0) != (v.Zeros&(1<<s) != 0) || b[s*sectorSize] != fill {
					t.Fatalf("block %d, sector %d: %d, want %d: %+v", v.Block, s, b[s*sectorSize], fill, v)
				}
			}
			if v.Tuple != tuples[v.Block] || !p.j.Holds(&v) {
				t.Fatalf("block %d: %+v", v.Block, v)
			}
		}
	}
	if n := len(p.j.Find(3, 6, nil)); n != count(want, 3)+count(want, 4)+count(want, 5) {
		t.Fatalf("found %d blocks in a part of the range", n)
	}
}

func count(of map[uint64]map[int]byte, block uint64) int {
	if of[block] == nil {
		return 0
	}
	return 1
}

func checkReplay(t *rapid.T, p *plain, want map[uint64]map[int]byte, tuples map[uint64]Tuple) {
	r := p.scan()
	seen := map[uint64]Sectors{}
	err := r.Replay(func(v Replayed) error {
		data := v.Data
		for s := range sectorsPerBlock {
			if v.Sectors&(1<<s) == 0 {
				continue
			}
			fill, is := want[v.Block][s]
			got := byte(0)
			if data != nil {
				got, data = data[0], data[sectorSize:]
			}
			if !is || got != fill {
				return fmt.Errorf("block %d, sector %d: replayed as %d, want %d", v.Block, s, got, fill)
			}
			if fill != 0 && seen[v.Block]&(1<<s) != 0 {
				return fmt.Errorf("block %d, sector %d: replayed twice", v.Block, s)
			}
			seen[v.Block] |= 1 << s
		}
		if len(data) > 0 || v.Tuple != tuples[v.Block] {
			return fmt.Errorf("block %d: %d bytes too many, tuple %x", v.Block, len(data), v.Tuple)
		}
		return nil
	})
	if err != nil || r.Lost != nil || r.Blocks != len(want) {
		t.Fatalf("%v, lost %v, %d blocks", err, r.Lost, r.Blocks)
	}
	for b, sectors := range want {
		if len(sectors) != seen[b].Len() {
			t.Fatalf("block %d: %#x was replayed of %v", b, seen[b], sectors)
		}
	}
}
