package volume

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"holdfast.dev/holdfast/device"
)

const mib = 1 << 20

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func formatted(t *testing.T, size int64) (device.Device, *Table) {
	t.Helper()
	d := device.NewMem(size)
	if err := Format(d); err != nil {
		t.Fatal(err)
	}
	return d, open(t, d)
}

func open(t *testing.T, d device.Device) *Table {
	t.Helper()
	table, err := Open(d)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func create(t *testing.T, table *Table, name string, size int64) *Volume {
	t.Helper()
	v, err := table.Create(name, size)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// names lists the volumes of a table in order.
func names(table *Table) string {
	var all []string
	for _, v := range table.Volumes() {
		all = append(all, v.Name())
	}
	return strings.Join(all, " ")
}

func TestVolumesOutliveReopening(t *testing.T) {
	d, table := formatted(t, 64*mib)
	a, b := create(t, table, "a", 3*mib+BlockSize), create(t, table, "b.2_x-Y", BlockSize)
	if _, err := a.WriteAt([]byte("of a"), a.Size()-4); err != nil {
		t.Fatal(err)
	}
	if _, err := b.WriteAt([]byte("of b"), 0); err != nil {
		t.Fatal(err)
	}
	again := open(t, d)
	if names(again) != "a b.2_x-Y" {
		t.Fatalf("volumes after reopening: %q", names(again))
	}
	for _, v := range []*Volume{a, b} {
		got, err := again.Lookup(v.Name())
		if err != nil {
			t.Fatal(err)
		}
		if got.ID() != v.ID() || got.Size() != v.Size() {
			t.Errorf("%s: %v of %d bytes became %v of %d", v.Name(), v.ID(), v.Size(), got.ID(), got.Size())
		}
		p := make([]byte, 4)
		off := int64(0)
		if v == a {
			off = a.Size() - 4
		}
		if _, err := got.ReadAt(p, off); err != nil || string(p) != "of "+v.Name()[:1] {
			t.Errorf("%s: read %q, %v", v.Name(), p, err)
		}
	}
	if a.ID() == b.ID() {
		t.Error("two volumes have one identity")
	}
}

func TestCreateRefuses(t *testing.T) {
	_, table := formatted(t, 8*mib)
	create(t, table, "taken", mib)
	for _, c := range []struct {
		what string
		name string
		size int64
		want error
	}{
		{"a taken name", "taken", mib, ErrExists},
		{"no name", "", mib, ErrInvalid},
		{"a long name", strings.Repeat("x", MaxName+1), mib, ErrInvalid},
		{"a leading dot", ".x", mib, ErrInvalid},
		{"a leading dash", "-x", mib, ErrInvalid},
		{"a slash", "a/b", mib, ErrInvalid},
		{"a zero byte", "a\x00b", mib, ErrInvalid},
		{"an umlaut", "ä", mib, ErrInvalid},
		{"no size", "x", 0, ErrInvalid},
		{"a negative size", "x", -BlockSize, ErrInvalid},
		{"an odd size", "x", BlockSize + 1, ErrInvalid},
		{"too much", "x", 6*mib + BlockSize, ErrNoSpace},
		{"far too much", "x", math.MaxInt64 / BlockSize * BlockSize, ErrNoSpace},
	} {
		if _, err := table.Create(c.name, c.size); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.what, err, c.want)
		}
	}
	if names(table) != "taken" {
		t.Errorf("a refused volume is listed: %q", names(table))
	}
	create(t, table, strings.Repeat("x", MaxName), 6*mib)
	if _, err := table.Create("full", BlockSize); !errors.Is(err, ErrNoSpace) {
		t.Errorf("in a full pool: %v", err)
	}
	if _, err := table.Lookup("absent"); !errors.Is(err, ErrNotFound) {
		t.Errorf("looking up what is not there: %v", err)
	}
}

func TestTableFillsUp(t *testing.T) {
	d := device.NewMem((MaxVolumes + 8) * mib)
	full := &table{}
	for i := range int64(MaxVolumes) {
		full.records = append(full.records, record{
			name: fmt.Sprintf("v%d", i), size: BlockSize, extents: []extent{{0, TableSize + i*mib, BlockSize}},
		})
	}
	if err := (&Table{dev: d}).store(full); err != nil {
		t.Fatal(err)
	}
	table := open(t, d)
	if _, err := table.Create("one-more", BlockSize); !errors.Is(err, ErrNoSpace) {
		t.Errorf("volume %d: %v", MaxVolumes+1, err)
	}
	if n := len(open(t, d).Volumes()); n != MaxVolumes {
		t.Errorf("%d volumes are left", n)
	}
}

// A volume must not show what its space held before.
func TestCreatedVolumeReadsAsZeros(t *testing.T) {
	d := device.NewMem(8 * mib)
	dirt := bytes.Repeat([]byte{0xa5}, 8*mib)
	if _, err := d.WriteAt(dirt, 0); err != nil {
		t.Fatal(err)
	}
	if err := Format(d); err != nil {
		t.Fatal(err)
	}
	v := create(t, open(t, d), "v", 2*mib)
	got := make([]byte, v.Size())
	if _, err := v.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(got, []byte{0xa5}) {
		t.Error("a created volume shows old bytes")
	}
}

func TestFormatForgetsVolumes(t *testing.T) {
	d, table := formatted(t, 8*mib)
	for _, n := range []string{"a", "b", "c"} {
		create(t, table, n, BlockSize)
	}
	if err := Format(d); err != nil {
		t.Fatal(err)
	}
	if got := names(open(t, d)); got != "" {
		t.Errorf("after Format there is %q", got)
	}
	if err := Format(device.NewMem(TableSize)); !errors.Is(err, ErrNoSpace) {
		t.Errorf("a device with room for the table only: %v", err)
	}
}

func TestSpans(t *testing.T) {
	_, table := formatted(t, 16*mib)
	a, b := create(t, table, "a", mib+BlockSize), create(t, table, "b", 2*mib)
	// The pool: table, a in [1, 2 MiB + 4 KiB), free, b in [3, 5 MiB), free.
	for _, c := range []struct {
		what   string
		off, n int64
		want   []Span
	}{
		{"the table", 0, mib, nil},
		{"nothing", 2 * mib, 0, nil},
		{"a negative length", 2 * mib, -1, nil},
		{"free space between", 2*mib + BlockSize, mib - BlockSize, nil},
		{"free space behind", 5 * mib, 11 * mib, nil},
		{"across the end of the table", mib - 1, 2, []Span{{a, 0, 1}}},
		{"the last byte of a", 2*mib + BlockSize - 1, 5, []Span{{a, mib + BlockSize - 1, 1}}},
		{"inside b", 3*mib + 10, 20, []Span{{b, 10, 20}}},
		{"the end of a to the start of b", 2 * mib, mib + 1, []Span{{a, mib, BlockSize}, {b, 0, 1}}},
		{"everything", 0, 16 * mib, []Span{{a, 0, mib + BlockSize}, {b, 0, 2 * mib}}},
		{"more than there is", 0, math.MaxInt64, []Span{{a, 0, mib + BlockSize}, {b, 0, 2 * mib}}},
		{"from inside, more than there is", 4 * mib, math.MaxInt64, []Span{{b, mib, mib}}},
	} {
		got := table.Spans(c.off, c.n)
		if len(got) != len(c.want) {
			t.Errorf("%s: got %v, want %v", c.what, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: got %v, want %v", c.what, got, c.want)
			}
		}
	}
}

func TestLookupReturnsOneVolume(t *testing.T) {
	_, table := formatted(t, 8*mib)
	a := create(t, table, "a", BlockSize)
	create(t, table, "b", BlockSize)
	if got, err := table.Lookup("a"); got != a || err != nil {
		t.Errorf("after another Create: %p, %v, want %p", got, err, a)
	}
}
