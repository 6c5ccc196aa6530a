package rangelock

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestOverlapsByMode(t *testing.T) {
	for _, c := range []struct {
		name   string
		a, b   Mode
		off, n int64
		free   bool
	}{
		{"shared over shared", Shared, Shared, 5, 10, true},
		{"exclusive over shared", Shared, Exclusive, 5, 10, false},
		{"shared over exclusive", Exclusive, Shared, 5, 10, false},
		{"exclusive beside exclusive", Exclusive, Exclusive, 10, 10, true},
		{"exclusive before exclusive", Exclusive, Exclusive, -1, 1, true},
		{"exclusive inside exclusive", Exclusive, Exclusive, 9, 1, false},
	} {
		l := New()
		h := l.Acquire(0, 10, c.a)
		if got := l.TryAcquire(c.off, c.n, c.b) != nil; got != c.free {
			t.Errorf("%s: granted %v, want %v", c.name, got, c.free)
		}
		l.Release(h)
	}
}

// A reader that comes after a waiting writer waits behind it: otherwise
// overlapping readers could keep the writer out for ever.
func TestWaitingWriterIsNotOvertaken(t *testing.T) {
	l := New()
	reader := l.Acquire(0, 10, Shared)
	granted := make(chan *Held)
	go func() { granted <- l.Acquire(5, 10, Exclusive) }()
	for !waiting(l) {
		time.Sleep(time.Millisecond)
	}
	if l.TryAcquire(0, 10, Shared) != nil {
		t.Fatal("a shared range was granted over a waiting exclusive one")
	}
	if l.TryAcquire(20, 1, Exclusive) == nil {
		t.Fatal("a range that overlaps nobody was not granted at once")
	}
	l.Release(reader)
	l.Release(<-granted)
	if l.TryAcquire(0, 20, Exclusive) == nil {
		t.Fatal("the range is still held after every Release")
	}
}

func waiting(l *Lock) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.live {
		if !h.granted {
			return true
		}
	}
	return false
}

// Random holders mark the bytes that they hold in an array of counters.
func TestExclusionUnderLoad(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type req struct {
			off, n int64
			mode   Mode
		}
		reqs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) req {
			return req{rapid.Int64Range(0, 30).Draw(t, "off"), rapid.Int64Range(1, 10).Draw(t, "n"),
				Mode(rapid.Bool().Draw(t, "mode"))}
		}), 1, 60).Draw(t, "reqs")
		var cells [40]atomic.Int32 // readers, or -1000 for a writer
		var wrong atomic.Int32
		var wg sync.WaitGroup
		l := New()
		for _, r := range reqs {
			wg.Go(func() {
				h := l.Acquire(r.off, r.n, r.mode)
				add := int32(1)
				if r.mode == Exclusive {
					add = -1000
				}
				for i := r.off; i < r.off+r.n; i++ {
					if v := cells[i].Add(add); v != -1000 && v < 0 {
						wrong.Add(1)
					}
				}
				for i := r.off; i < r.off+r.n; i++ {
					cells[i].Add(-add)
				}
				l.Release(h)
			})
		}
		wg.Wait()
		if wrong.Load() != 0 {
			t.Fatalf("%d cells were held by a writer and somebody else", wrong.Load())
		}
	})
}
