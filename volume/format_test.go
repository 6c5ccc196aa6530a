package volume

import (
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

const testPool = 64 * mib

// sample is a table with two volumes, one of them in two pieces.
func sample() *table {
	return &table{generation: 7, compat: 4, spare: [headerSpareSize]byte{3}, records: []record{
		{name: "a", id: uuid.UUID{1}, size: 2 * mib, spare: [recordSpareSize]byte{9},
			extents: []extent{{0, 4 * mib, mib}, {mib, mib, mib}}},
		{name: "b", id: uuid.UUID{2}, size: BlockSize, extents: []extent{{0, 2 * mib, BlockSize}}},
	}}
}

func encoded(t testing.TB, s *table) []byte {
	t.Helper()
	b, err := s.encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// reseal makes the checksum of b fit.
func reseal(b []byte) []byte {
	n := binary.LittleEndian.Uint32(b[offLength:])
	if int64(n) <= int64(len(b)) && n >= headerSize {
		binary.LittleEndian.PutUint32(b[offCRC:], checksum(b[:n]))
	}
	return b
}

func TestTableIsReadAsWritten(t *testing.T) {
	want := sample()
	got, err := decode(encoded(t, want), testPool)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
}

func TestAnyFlippedBitIsFound(t *testing.T) {
	whole := encoded(t, sample())
	n := int(binary.LittleEndian.Uint32(whole[offLength:]))
	rapid.Check(t, func(t *rapid.T) {
		b := append([]byte(nil), whole...)
		b[rapid.IntRange(0, n-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, err := decode(b, testPool); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("a damaged table was read: %v", err)
		}
	})
}

func TestDecodeRefuses(t *testing.T) {
	le := binary.LittleEndian
	const first = headerSize                              // record a
	const second = headerSize + recordSize + 2*extentSize // record b
	const run = first + recordSize                        // first extent of a
	for _, c := range []struct {
		what   string
		change func(b []byte)
		want   error
	}{
		{"a later format", func(b []byte) { le.PutUint32(b[offVersion:], 2) }, ErrUnsupported},
		{"an incompatible feature", func(b []byte) { b[offIncompat] = 1 }, ErrUnsupported},
		{"a read-only compatible feature", func(b []byte) { b[offROCompat+7] = 0x80 }, ErrUnsupported},
		{"another kind", func(b []byte) { b[first+offKind] = 2 }, ErrUnsupported},
		{"a flag", func(b []byte) { b[first+offFlags+3] = 1 }, ErrUnsupported},
		{"generation zero", func(b []byte) { le.PutUint64(b[offGeneration:], 0) }, ErrCorrupt},
		{"the last generation", func(b []byte) { le.PutUint64(b[offGeneration:], math.MaxUint64) }, ErrCorrupt},
		{"too many records", func(b []byte) { le.PutUint32(b[offRecords:], math.MaxUint32) }, ErrCorrupt},
		{"a record too many", func(b []byte) { b[offRecords]++ }, ErrCorrupt},
		{"a record too few", func(b []byte) { b[offRecords]-- }, ErrCorrupt},
		{"a length beyond the slot", func(b []byte) { le.PutUint32(b[offLength:], math.MaxUint32) }, ErrCorrupt},
		{"a length inside the header", func(b []byte) { le.PutUint32(b[offLength:], 12) }, ErrCorrupt},
		{"a name's length beyond its field", func(b []byte) { le.PutUint32(b[first+offNameLen:], MaxName+1) }, ErrCorrupt},
		{"no name", func(b []byte) { le.PutUint32(b[first+offNameLen:], 0) }, ErrCorrupt},
		{"bytes behind a name", func(b []byte) { b[first+offName+5] = 'x' }, ErrCorrupt},
		{"a name that is not one", func(b []byte) { b[first+offName] = '/' }, ErrCorrupt},
		{"a name twice", func(b []byte) { b[first+offName] = 'b' }, ErrCorrupt},
		{"no extents", func(b []byte) { le.PutUint32(b[second+offExtents:], 0) }, ErrCorrupt},
		{"extents beyond the slot", func(b []byte) { le.PutUint32(b[second+offExtents:], 1000) }, ErrCorrupt},
		{"extents beyond counting", func(b []byte) { le.PutUint32(b[second+offExtents:], math.MaxUint32) }, ErrCorrupt},
		{"an odd size", func(b []byte) { le.PutUint64(b[second+offSize:], 1) }, ErrCorrupt},
		{"a size that is negative", func(b []byte) { le.PutUint64(b[second+offSize:], 1<<63) }, ErrCorrupt},
		{"a size larger than the extents", func(b []byte) { le.PutUint64(b[second+offSize:], mib) }, ErrCorrupt},
		{"a size smaller than the extents", func(b []byte) { le.PutUint64(b[first+offSize:], mib) }, ErrCorrupt},
		{"a gap", func(b []byte) { le.PutUint64(b[run+extentSize:], mib+BlockSize) }, ErrCorrupt},
		{"an extent in the table", func(b []byte) { le.PutUint64(b[run+8:], 0) }, ErrCorrupt},
		{"an extent that is not aligned", func(b []byte) { le.PutUint64(b[run+8:], 4*mib+BlockSize) }, ErrCorrupt},
		{"an extent outside the pool", func(b []byte) { le.PutUint64(b[run+8:], testPool) }, ErrCorrupt},
		{"an extent far outside the pool", func(b []byte) { le.PutUint64(b[run+8:], math.MaxInt64&^(mib-1)) }, ErrCorrupt},
		{"an extent at a negative offset", func(b []byte) { le.PutUint64(b[run+8:], 1<<63) }, ErrCorrupt},
		{"a negative length", func(b []byte) { le.PutUint64(b[run+16:], math.MaxUint64-BlockSize+1) }, ErrCorrupt},
		{"extents of two volumes that overlap", func(b []byte) { le.PutUint64(b[second+recordSize+8:], mib) }, ErrCorrupt},
		{"extents of one volume that overlap", func(b []byte) { le.PutUint64(b[run+8:], mib) }, ErrCorrupt},
	} {
		b := encoded(t, sample())
		c.change(b)
		if _, err := decode(reseal(b), testPool); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.what, err, c.want)
		}
	}
}

// What decode accepts is whole, and is written back as it was.
func FuzzDecode(f *testing.F) {
	f.Add(encoded(f, sample())[:2*headerSize+3*recordSize], int64(testPool))
	f.Add(encoded(f, &table{generation: 1}), int64(testPool))
	f.Add([]byte(magic), int64(0))
	f.Fuzz(func(t *testing.T, b []byte, pool int64) {
		if len(b) >= headerSize {
			b = reseal(append([]byte(nil), b...))
		}
		got, err := decode(b, pool)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnsupported) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		again, err := got.encode()
		if err != nil {
			t.Fatal(err)
		}
		n := got.encodedSize()
		if string(again[:n]) != string(b[:n]) {
			t.Fatal("an accepted table is written differently")
		}
	})
}
