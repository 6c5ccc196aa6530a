package cache

import (
	"bytes"
	"sync"
	"testing"
	"testing/synctest"
)

// A sequential reader has the backing asked in few, long reads.
func TestReadAhead(t *testing.T) {
	const pages = 2048
	for _, manual := range []bool{true, false} {
		b := newBench(t, pages, Options{Manual: manual, Budget: 16 << 20}, MappingOptions{})
		for n := range int64(pages) {
			b.read(n*PageSize, PageSize)
		}
		if got := b.s.count("read"); got > pages/20 {
			t.Errorf("manual %v: %d reads of the backing for %d pages in sequence", manual, got, pages)
		}
	}
	b := newBench(t, pages, Options{Manual: true, Budget: 16 << 20}, MappingOptions{})
	for n := int64(0); n < pages; n += 3 {
		b.read((n*37%pages)*PageSize, PageSize)
	}
	if s := b.c.Stats(); s.Read > (pages/3+1)*PageSize*11/10 {
		t.Errorf("%d bytes were read for %d pages at random", s.Read, pages/3+1)
	}
}

// Whatever the length of its requests, and though they come in another order than
// they were sent in, a sequential reader is recognised: a whole window is read
// ahead of it, no page by two tasks, and never more is under way than one window.
func TestSequentialReadersAreRecognised(t *testing.T) {
	const runs, most = runPages, aheadPages
	rng := newRand(t)
	for _, want := range []int64{1, 2, 32, 128, 256, 1000} {
		var s streams
		have, marked, tasks := map[int64]bool{}, map[int64]bool{}, map[int64]bool{}
		bring := func(first, count int64) {
			for n := first; n < first+count; n++ {
				have[n] = true
			}
		}
		background := func(rest span) {
			if s.underWay > most {
				t.Fatalf("requests for %d pages: %d pages are under way", want, s.underWay)
			}
			for i := range rest.count {
				if tasks[rest.first+i] {
					t.Fatalf("requests for %d pages: page %d is read by two tasks", want, rest.first+i)
				}
				tasks[rest.first+i] = true
				marked[rest.first+i] = i%aheadRun == 0
			}
			bring(rest.first, rest.count)
			s.done(rest.count)
		}
		for at := int64(0); at < 8*most; at += 3 * want {
			batch := []int64{at, at + want, at + 2*want}
			if want > 1 && want <= runs { // longer ones are several misses each, in order
				rng.Shuffle(len(batch), func(i, k int) { batch[i], batch[k] = batch[k], batch[i] })
			}
			for _, first := range batch {
				for n := first; n < first+want; n++ {
					switch {
					case !have[n]:
						left := first + want - n
						along, rest := s.miss(n, left, runs, most)
						got := min(left, runs)
						bring(n, got+along)
						marked[n+got] = along > 0
						background(rest)
					case marked[n]:
						marked[n] = false
						background(s.resume(n, most))
					}
				}
			}
		}
		ahead := int64(0)
		for end := (8*most + 3*want - 1) / (3 * want) * 3 * want; have[end+ahead]; {
			ahead++
		}
		if ahead < most-aheadRun || ahead > most {
			t.Errorf("requests for %d pages: %d are read ahead in the end", want, ahead)
		}
	}
}

// Readers at random have next to nothing read that they did not ask for.
func TestRandomReadersReadNothingAhead(t *testing.T) {
	rng := newRand(t)
	for _, want := range []int64{1, 2, 32, 256} {
		var s streams
		beyond, asked := int64(0), int64(0)
		for range 20000 {
			along, rest := s.miss(rng.Int64N(1<<22), want, 256, 1024)
			s.done(rest.count)
			asked, beyond = asked+want, beyond+along+rest.count
		}
		if beyond > asked/50 {
			t.Errorf("requests for %d pages at random: %d pages were read for %d", want, beyond, asked)
		}
	}
}

// The backing has several reads to do for a sequential reader, even if that waits
// for each answer; no more than a window; and the reader gets what is stored.
func TestReadAheadKeepsTheQueueFull(t *testing.T) {
	const pages = 8192
	for _, want := range []int64{1, 32, runPages, 4 * runPages} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, pages, Options{Budget: 64 << 20}, MappingOptions{})
			stored := make([]byte, pages*PageSize)
			newRand(t).Shuffle(len(stored)/8, func(i, _ int) { stored[8*i] = byte(i * 31 / 512) })
			if _, err := b.s.Device.WriteAt(stored, 0); err != nil {
				t.Fatal(err)
			}
			var held struct {
				sync.Mutex
				on           bool
				reads, bytes int64
			}
			open := make(chan struct{})
			b.s.setBefore(func(_ string, _, n int64) {
				held.Lock()
				on := held.on
				if on {
					held.reads, held.bytes = held.reads+1, held.bytes+n
				}
				held.Unlock()
				if on {
					<-open
				}
			})
			at := int64(0)
			next := func() {
				got := b.read(at, want*PageSize)
				if !bytes.Equal(got, stored[at:][:want*PageSize]) {
					t.Errorf("requests for %d pages: other bytes than stored at %d", want, at)
				}
				at += want * PageSize
			}
			for at < 4*aheadPages*PageSize {
				next()
			}
			synctest.Wait()
			held.Lock()
			held.on = true
			held.Unlock()
			var reader sync.WaitGroup
			reader.Go(func() {
				for at < pages*PageSize {
					next()
				}
			})
			synctest.Wait()
			held.Lock()
			reads, sum := held.reads, held.bytes/PageSize
			held.on = false
			held.Unlock()
			close(open)
			reader.Wait()
			if reads < 4 || sum > aheadPages+want {
				t.Errorf("requests for %d pages: %d reads of %d pages are under way", want, reads, sum)
			}
			if err := b.c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Frames that are made ready are zeros, and their neighbours are what they were.
func TestReadyFrames(t *testing.T) {
	a, err := newArena("test", 256*PageSize)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	rng := newRand(t)
	for range 100 {
		n, count := 1+rng.Int64N(150), 1+rng.Int64N(100)
		copy(a.frames(n-1, 1), fill(PageSize, 1))
		copy(a.frames(n+count, 1), fill(PageSize, 2))
		a.ready(n, count)
		if !bytes.Equal(a.frames(n, count), make([]byte, count*PageSize)) {
			t.Errorf("frames [%d, +%d) are not zeros", n, count)
		}
		if !bytes.Equal(a.frames(n-1, 1), fill(PageSize, 1)) || !bytes.Equal(a.frames(n+count, 1), fill(PageSize, 2)) {
			t.Errorf("the neighbours of frames [%d, +%d) have changed", n, count)
		}
		a.punch(n-1, count+2)
		if a.ready(n, count); a.hasData(0, n) || a.hasData(n+count, 256-n-count) || count >= readyMin != a.hasData(n, count) {
			t.Errorf("other frames than [%d, +%d) were given memory, or not all of these", n, count)
		}
		a.punch(0, 256)
	}
}
