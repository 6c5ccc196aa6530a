package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/device/devicetest"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

const (
	rotData   = 4 << 20 // two blocks of the guard area
	rotRegion = 64 << 10
)

// guarded returns n legs in memory that are a closed pool, full of want.
func guarded(t testing.TB, n int, kind guard.Kind, r *rand.Rand) (legs []Leg, want []byte) {
	t.Helper()
	legs = memLegs(n, LegSize(rotData))
	must(t, Format(legs, FormatOptions{Size: rotData, RegionSize: rotRegion, Guards: kind}))
	want = noise(r, rotData)
	m := open(t, legs, Options{Manual: true})
	put(t, m, 0, want)
	must(t, m.Close())
	return legs, want
}

// spoil is a way in which a disk betrays: it changes what a leg holds of a block
// of data.
type spoil struct {
	name string
	do   func(t testing.TB, r *rand.Rand, l Leg, g *ondisk.Geometry, block int64)
}

var spoils = []spoil{
	{"a flipped bit", func(t testing.TB, r *rand.Rand, l Leg, g *ondisk.Geometry, block int64) {
		at := g.DataOff() + block*BlockSize + r.Int64N(BlockSize)
		b := get(t, l.Dev, at, 1)
		b[0] ^= 1 << r.IntN(8)
		put(t, l.Dev, at, b)
	}},
	{"another block's bytes", func(t testing.TB, r *rand.Rand, l Leg, g *ondisk.Geometry, block int64) {
		other := (block + 1 + r.Int64N(rotData/BlockSize-1)) % (rotData / BlockSize)
		put(t, l.Dev, g.DataOff()+block*BlockSize, get(t, l.Dev, g.DataOff()+other*BlockSize, BlockSize))
	}},
	{"zeros", func(t testing.TB, r *rand.Rand, l Leg, g *ondisk.Geometry, block int64) {
		put(t, l.Dev, g.DataOff()+block*BlockSize, make([]byte, BlockSize))
	}},
	{"a flipped bit of its guard", func(t testing.TB, r *rand.Rand, l Leg, g *ondisk.Geometry, block int64) {
		at := g.Areas[ondisk.AreaGuards].Off + block*guard.TupleSize + r.Int64N(guard.TupleSize)
		if g.Guards == guard.T10DIF {
			at = at&^7 + []int64{0, 1, 4, 5, 6, 7}[r.IntN(6)] // 2 and 3 are not covered
		}
		b := get(t, l.Dev, at, 1)
		b[0] ^= 1 << r.IntN(8)
		put(t, l.Dev, at, b)
	}},
	{"another block's bytes and guard", func(t testing.TB, r *rand.Rand, l Leg, g *ondisk.Geometry, block int64) {
		other := (block + 1 + r.Int64N(rotData/BlockSize-1)) % (rotData / BlockSize)
		put(t, l.Dev, g.DataOff()+block*BlockSize, get(t, l.Dev, g.DataOff()+other*BlockSize, BlockSize))
		guards := g.Areas[ondisk.AreaGuards].Off
		put(t, l.Dev, guards+block*guard.TupleSize, get(t, l.Dev, guards+other*guard.TupleSize, guard.TupleSize))
	}},
}

func geometryOf(t testing.TB, l Leg) *ondisk.Geometry {
	t.Helper()
	c := ondisk.ReadCopies(l.Dev)
	if c.Best() == nil {
		t.Fatal(c.Err())
	}
	return &c.Best().Geometry
}

// Whatever one leg has become, each read gives what was written; the leg is
// charged with each block, the other with none, and healed (H5).
func TestRotIsHealed(t *testing.T) {
	seed := devicetest.Seed(t)
	for kind := guard.CRC32C; kind <= guard.T10DIF; kind++ {
		for _, s := range spoils {
			for bad := range 2 {
				t.Run(fmt.Sprintf("%v/%s/leg=%d", kind, s.name, bad), func(t *testing.T) {
					r := devicetest.Rand(seed, uint64(bad))
					legs, want := guarded(t, 2, kind, r)
					g := geometryOf(t, legs[0])
					rotten := r.Perm(rotData / BlockSize)[:20]
					for _, b := range rotten {
						s.do(t, r, legs[bad], g, int64(b))
					}
					m := open(t, legs, Options{Manual: true})
					if got := get(t, m, 0, rotData); !bytes.Equal(got, want) {
						t.Fatal("read something else than was written")
					}
					// Which leg is read is the mirror's choice: scrub looks at both.
					must(t, m.Scrub(ScrubOptions{}))
					st := m.Status().Legs
					if st[bad].ChecksumErrors < 19 || st[bad].ChecksumErrors > 20 || st[1-bad].ChecksumErrors != 0 {
						t.Errorf("%d blocks of leg %d were spoiled; charged are %d and %d", len(rotten), bad, st[0].ChecksumErrors, st[1].ChecksumErrors)
					}
					must(t, m.Close())
					wantSound(t, legs)
					if !bytes.Equal(dataOf(t, legs[bad]), want) {
						t.Error("the leg was not healed")
					}
				})
			}
		}
	}
}

// Legs that are bad at different blocks give all data; where both are bad there
// is an error that names the block, until it is written anew.
func TestBothLegsRot(t *testing.T) {
	r := devicetest.Rand(devicetest.Seed(t), 0)
	legs, want := guarded(t, 2, guard.CRC32C, r)
	g := geometryOf(t, legs[0])
	for b := int64(0); b < 8; b++ {
		spoils[0].do(t, r, legs[b%2], g, b)
	}
	const lost = 100 * BlockSize
	for _, l := range legs {
		spoils[0].do(t, r, l, g, lost/BlockSize)
	}
	m := open(t, legs, Options{Manual: true})
	if got := get(t, m, 0, lost); !bytes.Equal(got, want[:lost]) {
		t.Error("what one leg or the other has was not put together")
	}
	for range 2 {
		_, err := m.ReadAt(make([]byte, 512), lost+1024)
		if !errors.Is(err, device.ErrGuard) || !strings.Contains(err.Error(), fmt.Sprintf("the block at %d", lost)) {
			t.Fatalf("a block that is bad on both legs: %v", err)
		}
	}
	if _, err := m.WriteAt([]byte("part"), lost); !errors.Is(err, device.ErrGuard) {
		t.Errorf("a part of a bad block was written: %v", err)
	}
	if got := get(t, m, lost+BlockSize, BlockSize); !bytes.Equal(got, want[lost+BlockSize:][:BlockSize]) {
		t.Error("its neighbour reads wrong")
	}
	put(t, m, lost, want[:BlockSize])
	if got := get(t, m, lost, BlockSize); !bytes.Equal(got, want[:BlockSize]) {
		t.Error("what was written anew reads wrong")
	}
	must(t, m.Close())
	wantSound(t, legs)
}

// A write that one leg lost, with its guard, is found as such: the other's is
// newer.
func TestLostWrite(t *testing.T) {
	for kind := guard.CRC32C; kind <= guard.T10DIF; kind++ {
		r := devicetest.Rand(devicetest.Seed(t), 0)
		legs, _ := guarded(t, 2, kind, r)
		g := geometryOf(t, legs[0])
		const at = 77 * BlockSize
		oldData, oldTuple := get(t, legs[0].Dev, g.DataOff()+at, BlockSize), get(t, legs[0].Dev, g.Areas[ondisk.AreaGuards].Off+77*guard.TupleSize, guard.TupleSize)
		m := open(t, legs, Options{Manual: true})
		want := noise(r, BlockSize)
		put(t, m, at, want)
		must(t, m.Close())
		put(t, legs[0].Dev, g.DataOff()+at, oldData)
		put(t, legs[0].Dev, g.Areas[ondisk.AreaGuards].Off+77*guard.TupleSize, oldTuple)
		m = open(t, legs, Options{Manual: true})
		if got := get(t, m, at, BlockSize); !bytes.Equal(got, want) {
			t.Errorf("%v: read what was before the lost write", kind)
		}
		if st := m.Status().Legs; st[0].ChecksumErrors != 1 || st[1].ChecksumErrors != 0 {
			t.Errorf("%v: charged %+v", kind, st)
		}
		must(t, m.Close())
		wantSound(t, legs)
	}
}

// Giving back as much as one block of the guard area is for makes its guards know
// nothing, in memory and on every leg.
func TestDiscardClearsGuards(t *testing.T) {
	r := devicetest.Rand(devicetest.Seed(t), 0)
	legs, want := guarded(t, 2, guard.CRC32C, r)
	m := open(t, legs, Options{Manual: true})
	get(t, m, 0, rotData) // its guards are in memory
	must(t, m.Discard(0, guardSpan+BlockSize))
	clear(want[:guardSpan+BlockSize])
	for range 2 {
		if got := get(t, m, 0, rotData); !bytes.Equal(got, want) {
			t.Fatal("read something else than zeros, and what was beside them")
		}
		must(t, m.Close())
		wantSound(t, legs)
		m = open(t, legs, Options{Manual: true})
	}
	g := geometryOf(t, legs[0])
	for _, l := range legs {
		if got := get(t, l.Dev, g.Areas[ondisk.AreaGuards].Off, BlockSize); !bytes.Equal(got, make([]byte, BlockSize)) {
			t.Errorf("leg %s has guards of what was given back", l.Name)
		}
	}
}

// What a new leg held in its guard area, beside data that is a hole, is no guard.
func TestNewLegHasNoGuards(t *testing.T) {
	legs := memLegs(2, LegSize(rotData))
	must(t, Format(legs, FormatOptions{Size: rotData, RegionSize: rotRegion, Guards: guard.CRC32C}))
	m := open(t, legs, Options{Manual: true})
	put(t, m, 0, []byte("here"))
	fresh := Leg{"c", kept{device.NewMem(LegSize(rotData))}}
	a := m.geo.Areas[ondisk.AreaGuards]
	put(t, fresh.Dev, a.Off, noise(devicetest.Rand(devicetest.Seed(t), 0), int(a.Len)))
	must(t, m.Add(fresh))
	resyncAll(m)
	must(t, m.Close())
	legs = append(legs, fresh)
	wantSound(t, legs)
	m = open(t, legs, Options{Manual: true})
	if got := get(t, m, 0, rotData); string(got[:4]) != "here" {
		t.Errorf("read %q", got[:4])
	}
}

// A leg that spoils too much is failed; the last one never.
func TestTooManyFaults(t *testing.T) {
	r := devicetest.Rand(devicetest.Seed(t), 0)
	legs, want := guarded(t, 2, guard.CRC32C, r)
	g := geometryOf(t, legs[0])
	put(t, legs[1].Dev, g.DataOff(), noise(r, (maxFaults+1)*BlockSize))
	m := open(t, legs, Options{Manual: true})
	must(t, m.Scrub(ScrubOptions{}))
	if st := m.Status(); st.Legs[1].State != Failed || st.Legs[0].State != InSync {
		t.Fatalf("legs are %+v", st.Legs)
	}
	if got := get(t, m, 0, rotData); !bytes.Equal(got, want) {
		t.Error("read something else than was written")
	}
}

// Bytes that do not fit the sums that come with them are not written.
func TestWriteGuarded(t *testing.T) {
	for kind := guard.None; kind <= guard.T10DIF; kind++ {
		r := devicetest.Rand(devicetest.Seed(t), 0)
		legs, want := guarded(t, 2, kind, r)
		m := open(t, legs, Options{Manual: true})
		p := noise(r, 2*BlockSize)
		sums := []uint32{guard.Sum(p[:BlockSize]), guard.Sum(p[BlockSize:])}
		p[BlockSize+1] ^= 4
		var op *device.OpError
		if err := m.WriteGuarded(p, 8*BlockSize, sums); !errors.Is(err, device.ErrGuard) || !errors.As(err, &op) {
			t.Errorf("%v: a flipped bit: %v", kind, err)
		}
		if got := get(t, m, 0, rotData); !bytes.Equal(got, want) {
			t.Errorf("%v: it was written", kind)
		}
		p[BlockSize+1] ^= 4
		must(t, m.WriteGuarded(p, 8*BlockSize, sums))
		if got := get(t, m, 8*BlockSize, 2*BlockSize); !bytes.Equal(got, p) {
			t.Errorf("%v: read something else than was written", kind)
		}
	}
}

// While others read and write, one leg rots at all times: nobody reads a wrong
// byte, and at the end both legs are equal.
func TestRotUnderLoad(t *testing.T) {
	seed := devicetest.Seed(t)
	for kind := guard.CRC32C; kind <= guard.T10DIF; kind++ {
		r := devicetest.Rand(seed, 9)
		legs, _ := guarded(t, 2, kind, r)
		m := open(t, legs, Options{})
		m.leg(1).faults.forgive = true
		m.Start()
		var tasks sync.WaitGroup
		var done atomic.Bool
		for w := range 3 {
			r := devicetest.Rand(seed, uint64(w))
			tasks.Go(func() {
				// Each has a third of the blocks, and knows what is in them.
				own := int64(rotData/BlockSize/3) * BlockSize
				base := int64(w) * own
				is := get(t, m, base, own)
				for range 400 {
					off := r.Int64N(own - 1)
					n := min(1+r.Int64N(40000), own-off)
					if r.IntN(2) == 0 {
						copy(is[off:off+n], noise(r, int(n)))
						put(t, m, base+off, is[off:off+n])
					} else if got := get(t, m, base+off, n); !bytes.Equal(got, is[off:off+n]) {
						t.Errorf("%v: read something else than was written: %d bytes at %d", kind, n, base+off)
						return
					}
				}
			})
		}
		spoiler := devicetest.Rand(seed, 10)
		var rot sync.WaitGroup
		rot.Go(func() {
			for !done.Load() {
				at := m.geo.DataOff() + spoiler.Int64N(rotData)
				put(t, legs[1].Dev, at, []byte{byte(spoiler.Uint32())})
			}
		})
		tasks.Wait()
		done.Store(true)
		rot.Wait()
		must(t, m.Scrub(ScrubOptions{}))
		st := m.Status().Legs
		if st[0].ChecksumErrors != 0 || st[1].ChecksumErrors == 0 {
			t.Errorf("%v: charged %+v", kind, st)
		}
		must(t, m.Close())
		wantSound(t, legs)
	}
}
