package cache

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast.dev/holdfast/device"
)

// stamp fills a sector with a content that says where it belongs and which
// version it is, and that a mix of two versions cannot have.
func stamp(p []byte, sector, version uint64) {
	binary.LittleEndian.PutUint64(p, sector)
	binary.LittleEndian.PutUint64(p[8:], version)
	for i := 16; i < len(p)-4; i++ {
		p[i] = byte(version) + byte(i)
	}
	binary.LittleEndian.PutUint32(p[len(p)-4:], crc32.ChecksumIEEE(p[:len(p)-4]))
}

// version returns the version of a stamped sector, 0 for zeros, and whether the
// sector is whole and in its place.
func version(p []byte, sector uint64) (uint64, bool) {
	if binary.LittleEndian.Uint32(p[len(p)-4:]) != crc32.ChecksumIEEE(p[:len(p)-4]) {
		for _, b := range p {
			if b != 0 {
				return 0, false
			}
		}
		return 0, true
	}
	return binary.LittleEndian.Uint64(p[8:]), binary.LittleEndian.Uint64(p) == sector
}

// Many tasks write, read, discard and sync the same few pages while flusher and
// reclaim work under a budget that never suffices. Every read sees whole
// sectors, none older than what was acknowledged before it began; after a sync
// the backing has what was acknowledged before the sync; and nothing changes
// while it is written out, which the invariants check.
func TestConcurrentUse(t *testing.T) {
	for _, st := range []Stability{StabilityWait, StabilityCopy} {
		t.Run(string(st), func(t *testing.T) { runConcurrent(t, st) })
	}
}

func runConcurrent(t *testing.T, st Stability) {
	const (
		pages   = 2 * MinBudget / PageSize
		sectors = pages * sectorsPerPage
		hot     = 64 // sectors that everybody fights for
	)
	b := newBench(t, pages, Options{Interval: time.Millisecond, Age: time.Millisecond, DirtyLimit: MinBudget / 4}, MappingOptions{Stability: st})
	b.s.setBefore(func(op string, off, n int64) {
		if op == "write" && off/PageSize%7 == 0 {
			time.Sleep(50 * time.Microsecond) // long enough to be met under write-out
		}
	})
	var (
		next  atomic.Uint64          // version numbers
		locks [sectors]sync.Mutex    // one writer a sector, so versions have an order
		acked [sectors]atomic.Uint64 // the last acknowledged version
		wg    sync.WaitGroup
		stop  = make(chan struct{})
		place = func(r *rand.Rand) uint64 {
			if r.IntN(2) == 0 {
				return r.Uint64N(hot)
			}
			return r.Uint64N(sectors)
		}
	)
	task := func(id uint64, f func(r *rand.Rand, h *Handle)) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(*seedFlag, id))
			h := b.open()
			defer h.Close()
			for {
				select {
				case <-stop:
					return
				default:
					f(r, h)
				}
			}
		})
	}
	for i := range uint64(3) {
		task(i, func(r *rand.Rand, h *Handle) {
			s := place(r)
			p := make([]byte, 512)
			locks[s].Lock()
			defer locks[s].Unlock()
			v := next.Add(1)
			stamp(p, s, v)
			if r.IntN(2) == 0 && h.TryWriteAt(p, int64(s)*512) == len(p) {
				acked[s].Store(v)
				return
			}
			if _, err := h.WriteAt(p, int64(s)*512); err != nil {
				t.Errorf("write: %v", err)
			}
			acked[s].Store(v)
		})
	}
	check := func(what string, p []byte, s, least uint64) {
		if v, ok := version(p, s); !ok {
			t.Errorf("%s: sector %d is torn or not itself", what, s)
		} else if v < least {
			t.Errorf("%s: sector %d has version %d, %d was acknowledged before", what, s, v, least)
		}
	}
	for i := range uint64(2) {
		task(100+i, func(r *rand.Rand, h *Handle) {
			s := place(r)
			n := min(1+r.Uint64N(20), sectors-s)
			p := make([]byte, n*512)
			least := make([]uint64, n)
			for i := range least {
				least[i] = acked[s+uint64(i)].Load()
			}
			if !h.TryReadAt(p, int64(s)*512) {
				if _, err := h.ReadAt(p, int64(s)*512); err != nil {
					t.Errorf("read: %v", err)
				}
			}
			for i := range n {
				check("read", p[i*512:][:512], s+i, least[i])
			}
		})
	}
	task(150, func(r *rand.Rand, h *Handle) {
		parts := make([]device.Part, 1+r.IntN(16))
		least := make([]uint64, len(parts))
		for i := range parts {
			s := place(r)
			parts[i], least[i] = device.Part{P: make([]byte, 512), Off: int64(s) * 512}, acked[s].Load()
		}
		if err := h.ReadScattered(parts); err != nil {
			t.Errorf("scattered read: %v", err)
		}
		for i, p := range parts {
			check("scattered read", p.P, uint64(p.Off/512), least[i])
		}
	})
	task(200, func(r *rand.Rand, h *Handle) {
		least := make([]uint64, hot)
		for i := range least {
			least[i] = acked[i].Load()
		}
		if err := h.SyncRange(0, hot*512); err != nil {
			t.Errorf("sync: %v", err)
		}
		p := make([]byte, hot*512)
		if _, err := b.s.Device.ReadAt(p, 0); err != nil {
			t.Error(err)
		}
		for i := range uint64(hot) {
			check("backing after sync", p[i*512:][:512], i, least[i])
		}
	})
	d := 3 * time.Second
	if testing.Short() {
		d = time.Second
	}
	time.Sleep(d)
	close(stop)
	wg.Wait()
	b.sync()
	p := b.stored(0, pages*PageSize)
	for s := range uint64(sectors) {
		check("at the end", p[s*512:][:512], s, acked[s].Load())
	}
	st2 := b.c.Stats()
	t.Logf("%d versions, %+v", next.Load(), st2)
	if st2.Resident > st2.Budget || st2.Evicted == 0 || st2.Written == 0 {
		t.Errorf("stats %+v", st2)
	}
	if st == StabilityCopy && st2.Shadows == 0 {
		t.Error("no page was written to while it was written out: the test tests less than it says")
	}
}

// Discards race with everything else. Nothing may break, and when all is quiet
// every sector is zero or a version that was written.
func TestDiscardRaces(t *testing.T) {
	const pages = 512
	b := newBench(t, pages, Options{Interval: time.Millisecond, Age: time.Millisecond}, MappingOptions{Stability: StabilityCopy})
	var wg sync.WaitGroup
	for id := range uint64(6) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(*seedFlag, id))
			h := b.open()
			defer h.Close()
			for i := range 1500 {
				off := r.Int64N(pages) * PageSize
				n := min((1+r.Int64N(40))*PageSize, pages*PageSize-off)
				var err error
				switch id {
				case 0, 1:
					p := make([]byte, 512)
					stamp(p, uint64(off)/512, uint64(i)+1)
					_, err = h.WriteAt(p, off)
				case 2:
					err = h.Discard(off, n)
				case 3:
					_, err = h.ReadAt(make([]byte, n), off)
				case 4:
					err = h.SyncRange(off, n)
				case 5:
					if i%20 == 0 {
						err = h.WriteZeroes(off, n)
					}
				}
				if err != nil {
					t.Errorf("task %d: %v", id, err)
				}
			}
		})
	}
	wg.Wait()
	b.sync()
	mem, disk := b.read(0, pages*PageSize), b.stored(0, pages*PageSize)
	for s := range uint64(pages * sectorsPerPage) {
		v, ok := version(mem[s*512:][:512], s)
		w, dok := version(disk[s*512:][:512], s)
		if !ok || !dok || v != w {
			t.Errorf("sector %d: version %d in memory (%v), %d on disk (%v)", s, v, ok, w, dok)
		}
	}
	if n := b.s.outstanding(); n != 0 {
		t.Errorf("%d pages are reserved after a sync", n)
	}
}

// A discard that has returned is not undone by a fill that had read the old
// bytes before it.
func TestDiscardExcludesFill(t *testing.T) {
	b := newBench(t, 64, Options{Manual: true}, MappingOptions{})
	b.write(fill(PageSize, 1), 0)
	b.sync()
	b.c.evict(64)
	read, goOn := make(chan struct{}), make(chan struct{})
	b.s.afterRead = sync.OnceFunc(func() { close(read); <-goOn })
	var wg sync.WaitGroup
	wg.Go(func() { b.read(0, PageSize) })
	<-read
	discarded := make(chan struct{})
	wg.Go(func() {
		defer close(discarded)
		if err := b.h.Discard(0, PageSize); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-discarded:
		t.Error("the discard went past a fill that has the old bytes in its hands")
	case <-time.After(20 * time.Millisecond):
	}
	close(goOn)
	wg.Wait()
	if got := b.read(0, PageSize); got[0] != 0 {
		t.Error("old bytes came back after a discard")
	}
}
