package attach

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// line joins what a client is told.
func line(word string, values ...int) string {
	for _, v := range values {
		word += fmt.Sprint(" ", v)
	}
	return word
}

func TestBlocks(t *testing.T) {
	r := newRand(t)
	for range 200 {
		pages := 1 + r.Int64N(300*blockPages)
		b := newBlocks(pages)
		marked := map[int64]bool{}
		for range r.IntN(6) {
			first := r.Int64N(pages)
			count := 1 + r.Int64N(min(pages-first, 3*blockPages))
			b.mark(first, count)
			for n := first; n < first+count; n++ {
				marked[n/blockPages] = true
			}
		}
		from := r.Int64N(pages)
		end := from + 1 + r.Int64N(pages-from)
		next := from
		b.each(from, end, func(first, count int64) {
			if first < next || count <= 0 || first+count > end {
				t.Fatalf("[%d, %d): a part of %d at %d after %d", from, end, count, first, next)
			}
			checkBlocks(t, marked, next, first, false)
			checkBlocks(t, marked, first, first+count, true)
			next = first + count
		})
		checkBlocks(t, marked, next, end, false)
	}
}

func checkBlocks(t *testing.T, marked map[int64]bool, first, end int64, want bool) {
	t.Helper()
	for n := first; n < end; n++ {
		if marked[n/blockPages] != want {
			t.Fatalf("page %d: marked is %v", n, !want)
		}
	}
}

func TestStreams(t *testing.T) {
	var s streams
	store := func(page int64) int64 {
		n := s.most(page)
		s.granted(page, n)
		return n
	}
	at := [2]int64{0, 1000}
	for step, want := range []int64{1, 2, 4, 8, writeMost, writeMost} {
		for i := range at {
			n := store(at[i])
			if n != want {
				t.Fatalf("step %d: %d pages, want %d", step, n, want)
			}
			at[i] += n
		}
	}
	for range 100 {
		if n := store(rand.Int64N(1<<40) * 100); n != 1 {
			t.Fatalf("a store out of order opens %d pages", n)
		}
	}
}

func FuzzParse(f *testing.F) {
	var p [messageSize]byte
	full := message{kind: kindMap, id: 1, status: 2, flags: 3, window: 4, off: 5, n: 6, addr: 7, text: "vol"}
	full.put(&p)
	f.Add(p[:])
	f.Add(p[:50])
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(b)
		if err != nil {
			return
		}
		var again [messageSize]byte
		m.put(&again)
		back, err := parse(again[:])
		if err != nil || back != m {
			t.Fatalf("%+v became %+v, %v", m, back, err)
		}
		if len(m.text) > textSize || strings.Contains(m.text, "\x00") {
			t.Fatalf("text %q", m.text)
		}
	})
}
