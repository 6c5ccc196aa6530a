package guard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

var check = []byte("123456789")

func TestCheckValues(t *testing.T) {
	if got := Sum(check); got != 0xE3069283 {
		t.Errorf("CRC-32C of %q is %#08x", check, got)
	}
	if got := crc16(check); got != 0xD0DB {
		t.Errorf("CRC-16/T10-DIF of %q is %#04x", check, got)
	}
	if got := Sum(make([]byte, BlockSize)); got != ZeroSum {
		t.Errorf("the sum of zeros is %#08x, not %#08x", got, ZeroSum)
	}
}

// A byte at a time, as the standard has it, gives what sixteen at a time give.
func TestCRC16AgainstBits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "data")
		var want uint16
		for _, b := range data {
			want ^= uint16(b) << 8
			for range 8 {
				top := want & 0x8000
				want <<= 1
				if top != 0 {
					want ^= difPolynomial
				}
			}
		}
		if got := crc16(data); got != want {
			t.Fatalf("%#04x, by bits %#04x", got, want)
		}
	})
}

// The place that a sum is masked with is the CRC-32C of the pool's id, the number and
// the version, as the legs of every pool have it; and working it out allocates nothing.
func TestPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawBinding(t)
		block, version := rapid.Uint64().Draw(t, "block"), rapid.Uint32().Draw(t, "version")
		bytes := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(nil, block), version)
		if got, want := b.place(block, version), crc32.Update(b.pool, castagnoli, bytes); got != want {
			t.Fatalf("%#08x, want %#08x", got, want)
		}
	})
	b, data, prev := NewBinding(CRC32C, [16]byte{1}), randomBlock(1), Tuple{}
	if n := testing.AllocsPerRun(10, func() { prev = b.Make(7, 5, data, prev); b.Holds(prev, 7, data) }); n != 0 {
		t.Errorf("a tuple is made and checked with %v allocations", n)
	}
}

func randomBlock(seed uint64) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	block := make([]byte, BlockSize)
	rand.NewChaCha8(key).Read(block)
	return block
}

func TestReplace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		block := randomBlock(rapid.Uint64().Draw(t, "block"))
		off := rapid.IntRange(0, BlockSize).Draw(t, "off")
		n := rapid.IntRange(0, BlockSize-off).Draw(t, "n")
		testReplace(t, block, off, randomBlock(rapid.Uint64().Draw(t, "new"))[:n])
	})
}

func FuzzReplace(f *testing.F) {
	f.Add(uint64(1), uint16(512), check)
	f.Add(uint64(2), uint16(BlockSize-1), []byte{0})
	f.Fuzz(func(t *testing.T, seed uint64, at uint16, bytes []byte) {
		off := int(at) % (BlockSize + 1)
		testReplace(t, randomBlock(seed), off, bytes[:min(len(bytes), BlockSize-off)])
	})
}

// testReplace compares Replace with the sum of the changed block, and sees that
// it does not hide a bit that flipped elsewhere.
func testReplace(t interface{ Fatalf(string, ...any) }, block []byte, off int, part []byte) {
	sum := Sum(block)
	old := bytes.Clone(block[off : off+len(part)])
	copy(block[off:], part)
	got := Replace(sum, off, old, part)
	if want := Sum(block); got != want {
		t.Fatalf("%d bytes at %d: %#08x, recomputed %#08x", len(part), off, got, want)
	}
	if len(part) < BlockSize {
		at := (off + len(part)) % BlockSize
		block[at] ^= 4
		if Sum(block) == got {
			t.Fatalf("a flip at %d fits after %d bytes at %d were replaced", at, len(part), off)
		}
	}
}

var kinds = []Kind{CRC32C, T10DIF}

func drawBinding(t *rapid.T) Binding {
	var pool [16]byte
	copy(pool[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "pool"))
	return NewBinding(rapid.SampledFrom(kinds).Draw(t, "kind"), pool)
}

func TestTupleHoldsForItsBlockAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawBinding(t)
		data := randomBlock(rapid.Uint64().Draw(t, "data"))
		block := rapid.Uint64().Draw(t, "block")
		tuple := b.Make(block, Sum(data), data, Tuple{})
		if !tuple.Known() || !b.Holds(tuple, block, data) {
			t.Fatalf("%v %x does not hold for what it was made of", b.Kind(), tuple)
		}
		other := block ^ uint64(rapid.Uint32Range(1, math.MaxUint32).Draw(t, "moved"))
		if b.Holds(tuple, other, data) {
			t.Fatalf("%v of block %d holds for block %d", b.Kind(), block, other)
		}
		if b.Kind() == CRC32C {
			stranger := NewBinding(CRC32C, [16]byte{1, 2, 3})
			if stranger.Holds(tuple, block, data) {
				t.Fatalf("%v holds in another pool", b.Kind())
			}
		}
		bit := rapid.IntRange(0, BlockSize*8-1).Draw(t, "bit")
		data[bit/8] ^= 1 << (bit % 8)
		if b.Holds(tuple, block, data) {
			t.Fatalf("%v holds although bit %d flipped", b.Kind(), bit)
		}
	})
}

// What a leg hands over may be any eight bytes.
func FuzzHolds(f *testing.F) {
	data := randomBlock(1)
	f.Add(uint8(0), uint64(7), []byte("12345678"))
	f.Fuzz(func(t *testing.T, kind uint8, block uint64, stored []byte) {
		b := NewBinding(kinds[int(kind)%len(kinds)], [16]byte{9})
		var tuple Tuple
		copy(tuple[:], stored)
		made := b.Make(block, Sum(data), data, tuple)
		if !b.Holds(made, block, data) || b.Kind().Version(made) == 0 {
			t.Fatalf("%x, made after %x, does not hold", made, tuple)
		}
		if !b.Kind().Newer(made, tuple) || b.Kind().Newer(tuple, made) {
			t.Fatalf("%x is not newer than %x, which it followed", made, tuple)
		}
		if sound := b.Kind().Version(tuple) != 0; tuple.Known() && !sound && b.Holds(tuple, block, data) {
			t.Fatalf("%x holds, and cannot have been made", tuple)
		}
	})
}

func TestUnknownHolds(t *testing.T) {
	data := randomBlock(1)
	for _, kind := range []Kind{None, CRC32C, T10DIF} {
		b := NewBinding(kind, [16]byte{1})
		if !b.Holds(Tuple{}, 5, data) {
			t.Errorf("%v: the zero tuple does not hold", kind)
		}
		if kind.Version(Tuple{}) != 0 {
			t.Errorf("%v: the zero tuple has a version", kind)
		}
		if got := b.Make(5, Sum(data), data, Tuple{}); got.Known() != (kind != None) {
			t.Errorf("%v: made %x", kind, got)
		}
	}
}

// withVersion returns a tuple of that version.
func withVersion(k Kind, v uint32) (t Tuple) {
	if k == T10DIF {
		binary.BigEndian.PutUint16(t[2:], uint16(v))
	} else {
		binary.LittleEndian.PutUint32(t[4:], v)
	}
	return t
}

func TestVersionsWrap(t *testing.T) {
	data := randomBlock(1)
	for _, k := range kinds {
		b := NewBinding(k, [16]byte{1})
		last := uint32(math.MaxUint32)
		if k == T10DIF {
			last = 0xFFFE
		}
		for from, want := range map[uint32]uint32{0: 1, 1: 2, last - 1: last, last: 1} {
			prev := withVersion(k, from)
			next := b.Make(3, Sum(data), data, prev)
			if got := k.Version(next); got != want {
				t.Errorf("%v: version %d follows %d, want %d", k, got, from, want)
			}
			if !k.Newer(next, prev) || k.Newer(prev, next) || k.Newer(next, next) {
				t.Errorf("%v: order of versions %d and %d", k, from, want)
			}
		}
		half := last / 2
		for _, step := range []uint32{1, 2, half - 1} {
			a, b := withVersion(k, last-half/2), withVersion(k, uint32((uint64(last-half/2)-1+uint64(step))%uint64(last))+1)
			if !k.Newer(b, a) || k.Newer(a, b) {
				t.Errorf("%v: %d steps are not newer", k, step)
			}
		}
		if k.Newer(Tuple{}, withVersion(k, last)) || !k.Newer(withVersion(k, last), Tuple{}) {
			t.Errorf("%v: an unknown tuple is newer than a known one", k)
		}
	}
}

// A tuple without a version was not made here, whatever its checksum says.
func TestNoVersionDoesNotHold(t *testing.T) {
	data := randomBlock(1)
	for _, c := range []struct {
		kind Kind
		tag  string
	}{{CRC32C, "\x00\x00\x00\x00"}, {T10DIF, "\x00\x00"}, {T10DIF, "\xFF\xFF"}} {
		b := NewBinding(c.kind, [16]byte{1})
		tuple := b.Make(3, Sum(data), data, Tuple{})
		if c.kind == T10DIF {
			copy(tuple[2:4], c.tag)
		} else {
			copy(tuple[4:], c.tag)
		}
		if c.kind.Version(tuple) != 0 || b.Holds(tuple, 3, data) {
			t.Errorf("%v: % x holds", c.kind, tuple)
		}
	}
}

func TestOrderIsAntisymmetric(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.SampledFrom(kinds).Draw(t, "kind")
		a := withVersion(k, rapid.Uint32().Draw(t, "a"))
		b := withVersion(k, rapid.Uint32().Draw(t, "b"))
		if k.Newer(a, b) && k.Newer(b, a) {
			t.Fatalf("%v: %x and %x are each newer", k, a, b)
		}
	})
}

// The layouts are on disks: they are what they are.
func TestLayout(t *testing.T) {
	data := make([]byte, BlockSize)
	copy(data, check)
	for _, c := range []struct {
		kind Kind
		want string
	}{
		{CRC32C, "\xeb\x20\x1f\x12\x03\x00\x00\x00"},
		{T10DIF, "\xaa\x02\x00\x03\x04\x05\x06\x07"},
	} {
		b := NewBinding(c.kind, [16]byte{0: 1, 15: 2})
		got := b.Make(0x0102030404050607, Sum(data), data, withVersion(c.kind, 2))
		if string(got[:]) != c.want {
			t.Errorf("%v: % x, want % x", c.kind, got, c.want)
		}
	}
}

func TestKindNames(t *testing.T) {
	for _, k := range []Kind{None, CRC32C, T10DIF} {
		text, err := k.MarshalText()
		var back Kind
		if err != nil || back.UnmarshalText(text) != nil || back != k || k.String() != string(text) {
			t.Errorf("kind %d: %q, %v", k, text, err)
		}
	}
	if _, err := Parse("sha"); !errors.Is(err, ErrKind) {
		t.Errorf("parsing an unknown name: %v", err)
	}
	if _, err := Kind(9).MarshalText(); !errors.Is(err, ErrKind) {
		t.Errorf("writing an unknown kind: %v", err)
	}
}

func BenchmarkReplace512(b *testing.B) {
	block, sum := randomBlock(1), uint32(0)
	b.SetBytes(512)
	for b.Loop() {
		sum = Replace(sum, 1024, block[1024:1536], block[:512])
	}
}

func BenchmarkHolds(b *testing.B) {
	block := randomBlock(1)
	for _, k := range kinds {
		b.Run(k.String(), func(b *testing.B) {
			bind := NewBinding(k, [16]byte{1})
			t := bind.Make(7, Sum(block), block, Tuple{})
			b.SetBytes(BlockSize)
			for b.Loop() {
				bind.Holds(t, 7, block)
			}
		})
	}
}
