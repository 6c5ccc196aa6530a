package cache

import (
	"sync"
	"sync/atomic"
	"testing"
)

// table is an address space in data: which pages it has mapped, and how. A store
// without write access is a fault, as in a processor; where stores are not
// announced it is noted.
type table struct {
	b     *bench
	a     *Attachment
	async bool

	mu     sync.Mutex
	access map[int64]int // 1: to read, 2: to write
	// stored has the pages stored to since they were collected, whether they are
	// mapped still or not; dead, that nobody knows any more.
	stored map[int64]bool
	dead   bool

	unannounced atomic.Int64
	protects    atomic.Int64
	// beforeUnmap, if set, is called before pages leave.
	beforeUnmap func(first, count int64)
	// afterCollect, if set, is called when stores were collected.
	afterCollect func()
}

func (b *bench) attach() *table { return b.attachAs(false) }

func (b *bench) attachAs(async bool) *table {
	b.t.Helper()
	t, err := b.tryAttach(async)
	if err != nil {
		b.t.Fatal(err)
	}
	return t
}

func (b *bench) tryAttach(async bool) (t *table, err error) {
	t = &table{b: b, async: async, access: map[int64]int{}, stored: map[int64]bool{}}
	if async {
		t.a, err = b.m.AttachAsync(t)
	} else {
		t.a, err = b.m.Attach(t)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

func bothModes(t *testing.T, f func(t *testing.T, async bool)) {
	t.Run("announced", func(t *testing.T) { f(t, false) })
	t.Run("async", func(t *testing.T) { f(t, true) })
}

func (t *table) Protect(first, count int64) {
	t.protects.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := first; n < first+count; n++ {
		t.access[n] = min(t.access[n], 1)
	}
}

func (t *table) Collect(first, count int64, stored func(first, count int64)) {
	t.protects.Add(1)
	if t.afterCollect != nil {
		defer t.afterCollect()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dead {
		stored(first, count)
		return
	}
	for n := range t.stored {
		if n >= first && n < first+count {
			stored(n, 1)
			delete(t.stored, n)
		}
	}
}

func (t *table) Unmap(first, count int64) {
	if t.beforeUnmap != nil {
		t.beforeUnmap(first, count)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := first; n < first+count; n++ {
		delete(t.access, n)
	}
}

func (t *table) Unannounced(int64) { t.unannounced.Add(1) }

func (t *table) map_(access int) func(first, count int64) error {
	return func(first, count int64) error {
		t.mu.Lock()
		defer t.mu.Unlock()
		for n := first; n < first+count; n++ {
			if t.async && t.access[n] == 0 {
				// Mapped over whatever there was.
				delete(t.stored, n)
			}
			t.access[n] = max(t.access[n], access)
		}
		return nil
	}
}

// touch stores p at off if the page can be stored to as it is.
func (t *table) touch(p []byte, off int64) bool {
	n := off / PageSize
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.access[n] != 2 && !(t.async && t.access[n] == 1) {
		return false
	}
	copy(t.b.m.arena.mem[off:], p)
	if t.async {
		t.stored[n] = true
	}
	return true
}

// store stores p, which lies in one page, at off.
func (t *table) store(p []byte, off int64) error {
	access, most := 2, int64(1)
	if t.async {
		access, most = 1, 4
	}
	for !t.touch(p, off) {
		if err := t.a.WriteFault(off/PageSize, most, t.map_(access)); err != nil {
			return err
		}
	}
	return nil
}

// load loads from a page; what the cache takes away by punching a hole, which
// this table does not notice where stores are announced, is asked for at each
// load.
func (t *table) load(p []byte, off int64) error {
	return t.a.ReadFault(off/PageSize, 4, func(first, count int64) error {
		copy(p, t.b.m.arena.mem[off:])
		return t.map_(1)(first, count)
	})
}
