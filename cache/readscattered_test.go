package cache

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"holdfast.dev/holdfast/device"
)

// stripes has the backing hold a byte of its own in each page.
func stripes(b *bench) {
	for n := range b.m.pages() {
		if _, err := b.s.Device.WriteAt(fill(PageSize, byte(n+1)), n*PageSize); err != nil {
			b.t.Fatal(err)
		}
	}
}

// wanted makes parts of offsets and lengths.
func wanted(ranges ...[2]int64) (parts []device.Part) {
	for _, r := range ranges {
		parts = append(parts, device.Part{P: make([]byte, r[1]), Off: r[0]})
	}
	return parts
}

// Pages that are absent are read together, each once; what is there, or somebody is at,
// or is to be read ahead of, is not among them. All parts are filled.
func TestReadScattered(t *testing.T) {
	const page = PageSize
	pages := func(numbers ...int64) (ranges [][2]int64) {
		for _, n := range numbers {
			ranges = append(ranges, [2]int64{n * page, page})
		}
		return ranges
	}
	for _, c := range []struct {
		what    string
		before  func(b *bench)
		parts   [][2]int64
		gathers [][]int64 // where each begins that the backing is asked for together
		reads   int       // how often it is asked otherwise
	}{
		{"absent pages", nil, pages(40, 9, 100), [][]int64{{40, 9, 100}}, 0},
		{"parts of pages", nil, [][2]int64{{40*page + 7, 100}, {9*page + 4000, 96}}, [][]int64{{40, 9}}, 0},
		{"over several pages", nil, [][2]int64{{40*page + 7, 2 * page}, {9 * page, 2 * page}}, [][]int64{{40, 9}}, 0},
		{"one page twice", nil, [][2]int64{{40 * page, 9}, {40*page + 100, 9}, {7 * page, 9}}, [][]int64{{40, 7}}, 0},
		{"nothing", nil, [][2]int64{{40 * page, 0}, {7 * page, page}, {60 * page, page}}, [][]int64{{7, 60}}, 0},
		{"some are there", func(b *bench) { b.read(9*page, page) }, pages(40, 9, 100), [][]int64{{40, 100}}, 1},
		{"all are there", func(b *bench) { b.read(9*page, page); b.read(40*page, page) }, pages(40, 9), nil, 2},
		{"some sectors are there", func(b *bench) { b.write(fill(512, 10), 9*page) }, pages(40, 9, 100), [][]int64{{40, 100}}, 1},
		{"the second page is there", func(b *bench) { b.read(10*page, page) }, [][2]int64{{9 * page, 2 * page}, {40 * page, 9}, {60 * page, 9}}, [][]int64{{40, 60}}, 2},
		{"neighbours", nil, pages(40, 41, 42, 43), [][]int64{{40}}, 1},
	} {
		t.Run(c.what, func(t *testing.T) {
			b, d := togetherBench(t, 0, nil)
			stripes(b)
			if c.before != nil {
				c.before(b)
			}
			parts := wanted(c.parts...)
			must(t, b.h.ReadScattered(parts))
			for _, p := range parts {
				if got := b.stored(p.Off, int64(len(p.P))); !bytes.Equal(p.P, got) {
					t.Errorf("%d bytes at %d are not what is stored", len(p.P), p.Off)
				}
			}
			if !slices.EqualFunc(d.gathers, c.gathers, slices.Equal) || d.count("read") != c.reads {
				t.Errorf("%v were read together, and %d times otherwise; want %v and %d", d.gathers, d.count("read"), c.gathers, c.reads)
			}
			absentOrCharged(b)
		})
	}
}

// absentOrCharged checks that as much is charged as is there.
func absentOrCharged(b *bench) {
	b.t.Helper()
	there := int64(0)
	for n := range b.m.pages() {
		if pg, ok := b.m.find(n); ok {
			w := pg.load()
			if w.has(present) {
				there++
			}
			if w.has(locked) || w.readers() > 0 {
				b.t.Errorf("page %d is left as %v", n, w)
			}
		}
	}
	if got := b.c.charged.Load(); got != there {
		b.t.Errorf("%d pages are charged, %d are there", got, there)
	}
}

// If the backing cannot read the parts together the error is told, and nothing is left
// of them: each can be read by itself.
func TestReadScatteredFails(t *testing.T) {
	fault := errors.New("some part failed")
	b, d := togetherBench(t, 0, nil)
	stripes(b)
	d.fail("gather", fault)
	parts := wanted([2]int64{40 * PageSize, 9}, [2]int64{9 * PageSize, PageSize})
	if err := b.h.ReadScattered(parts); !errors.Is(err, fault) {
		t.Errorf("of a backing that fails: %v", err)
	}
	absentOrCharged(b)
	if b.m.arena.hasData(9, 1) || b.m.arena.hasData(40, 1) {
		t.Error("there is memory where nothing was read")
	}
	for _, p := range parts {
		b.h.ReadAt(p.P, p.Off)
	}
	if parts[0].P[0] != 41 || parts[1].P[0] != 10 || d.count("read") != 2 {
		t.Errorf("they read as %d and %d, in %d reads", parts[0].P[0], parts[1].P[0], d.count("read"))
	}
	must(t, b.h.ReadScattered(parts)) // they are there
	if err := b.h.ReadScattered(wanted([2]int64{b.m.Size() - 1, 2})); !errors.Is(err, device.ErrOutOfRange) {
		t.Errorf("beyond the end: %v", err)
	}
	must(t, b.h.Close())
	if err := b.h.ReadScattered(wanted([2]int64{0, 1})); !errors.Is(err, ErrClosed) {
		t.Errorf("of a closed handle: %v", err)
	}
}

// Where there is no buffer, or not enough of it, parts are read to the frames.
func TestReadScatteredWithoutABuffer(t *testing.T) {
	var few, many [][2]int64
	for n := range int64(40) {
		few = append(few, [2]int64{11 * n * PageSize, PageSize})
		many = append(many, [2]int64{11*n*PageSize + 7, 2 * PageSize})
	}
	for _, c := range []struct {
		what  string
		parts [][2]int64
		lent  int // buffers that others have
	}{
		{"a buffer", few, fetchCount - 1},
		{"no buffer", few, fetchCount},
		{"more than a buffer holds", many, 0},
	} {
		b, d := togetherBench(t, 0, nil)
		stripes(b)
		var lent []*buffer
		for range c.lent {
			lent = append(lent, b.c.fetched.get(false))
		}
		parts := wanted(c.parts...)
		must(t, b.h.ReadScattered(parts))
		for _, again := range []bool{false, true} {
			for _, p := range parts {
				if got := b.stored(p.Off, int64(len(p.P))); !bytes.Equal(p.P, got) {
					t.Errorf("%s: %d bytes at %d are not what is stored, read again: %v", c.what, len(p.P), p.Off, again)
				}
				b.h.ReadAt(p.P, p.Off)
			}
		}
		if len(d.gathers) != 1 || len(d.gathers[0]) != len(parts) || d.count("read") > 0 {
			t.Errorf("%s: %v were read together, and %d times otherwise", c.what, d.gathers, d.count("read"))
		}
		for _, one := range lent {
			b.c.fetched.put(one)
		}
		absentOrCharged(b)
		if b.guardsFit() != int(b.c.charged.Load()) {
			t.Errorf("%s: not all pages have a guard that fits", c.what)
		}
		if len(b.c.fetched.free) != b.c.fetched.made {
			t.Errorf("%s: %d of %d buffers have come back", c.what, len(b.c.fetched.free), b.c.fetched.made)
		}
	}
}

// More than may be brought in at once is brought in bit by bit.
func TestReadScatteredBeyondRoom(t *testing.T) {
	b, d := togetherBench(t, 0, nil)
	stripes(b)
	var ranges [][2]int64
	for n := int64(0); n < b.m.pages(); n += 2 {
		ranges = append(ranges, [2]int64{n * PageSize, 1})
	}
	if int64(len(ranges)) <= b.c.fillPages() {
		t.Fatalf("%d pages are not too many", len(ranges))
	}
	parts := wanted(ranges...)
	must(t, b.h.ReadScattered(parts))
	for _, p := range parts {
		if p.P[0] != byte(p.Off/PageSize+1) {
			t.Fatalf("page %d reads as %d", p.Off/PageSize, p.P[0])
		}
	}
	if len(d.gathers) > 0 {
		t.Errorf("%d were read together", len(d.gathers[0]))
	}
	absentOrCharged(b)
}
