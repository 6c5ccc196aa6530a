package cache

import (
	"fmt"

	"holdfast.dev/holdfast/device"
)

// piece is the part of a request that lies in one page.
func piece(off int64, left int) (n int64, a, k int) {
	a = int(off % PageSize)
	return off / PageSize, a, min(PageSize-a, left)
}

// tryRead copies from pages that are there, and stops at the first that is not.
func (m *Mapping) tryRead(p []byte, off int64) bool {
	for len(p) > 0 {
		n, a, k := piece(off, len(p))
		pg, ok := m.find(n)
		if !ok || !m.readPage(&pg, a, p[:k]) {
			return false
		}
		p, off = p[k:], off+int64(k)
	}
	return true
}

// readPage copies from byte a of the page if it can be entered.
func (m *Mapping) readPage(pg *page, a int, p []byte) bool {
	w, ok := pg.enter(sectorMask(a, a+len(p)), 0)
	if !ok {
		return false
	}
	copy(p, m.contents(pg.n, w)[a:])
	pg.leave()
	return true
}

// contents returns what page n holds for readers and writers: its shadow where
// it has one. Requires that the caller has entered or locked the page and w is
// its word.
func (m *Mapping) contents(n int64, w word) []byte {
	if w.has(shadow) {
		return m.shadows.get(n)
	}
	return m.arena.frames(n, 1)
}

func (m *Mapping) read(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n, a, k := piece(off+int64(done), len(p)-done)
		pg := m.page(n)
		if m.readPage(&pg, a, p[done:done+k]) {
			m.c.counters.hits.Add(1)
			done += k
			continue
		}
		w := pg.load()
		if w.has(damaged) {
			return done, m.damagedError(n)
		}
		if w.valid()&sectorMask(a, a+k) == sectorMask(a, a+k) {
			m.awaitEntry(&pg, w)
			continue
		}
		if w.has(locked) && !w.has(present) {
			// Somebody brings it, perhaps this reader's own reading ahead.
			pg.wait(func(w word) bool { return !w.has(locked) })
			continue
		}
		got, err := m.miss(n, a, p[done:])
		if err != nil {
			return done, err
		}
		done += got
	}
	return done, nil
}

// miss brings in what p needs from byte a of page n on, and what reading ahead
// adds, and copies as much as it brought in. It may bring in nothing, where
// somebody else just has: then the caller tries again.
func (m *Mapping) miss(n int64, a int, p []byte) (int, error) {
	want := int64(a+len(p)+PageSize-1) / PageSize
	entered, err := m.fill(n, want, m.follow(n, want))
	if err != nil {
		return 0, err
	}
	if entered == 0 {
		return 0, nil
	}
	done := copy(p, m.arena.frames(n, entered)[a:])
	m.leave(n, entered)
	return done, nil
}

// leave ends what the caller has entered, count pages from n on.
func (m *Mapping) leave(n, count int64) {
	for i := range count {
		pg := m.page(n + i)
		pg.leave()
	}
}

// awaitEntry waits until a page that has what is wanted lets readers in.
func (m *Mapping) awaitEntry(pg *page, w word) {
	if w.has(ahead) && !w.has(locked) {
		m.readAhead(pg)
		return
	}
	pg.wait(func(w word) bool { return !w.has(locked) && w&readersMask != readersMask })
}

// prefetch brings in what is missing of [off, off+n).
func (m *Mapping) prefetch(off, n int64) error {
	first, end := off/PageSize, (off+n+PageSize-1)/PageSize
	end = min(end, first+m.c.o.Budget/PageSize/4)
	for first < end {
		entered, err := m.fill(first, end-first, 0)
		if err != nil {
			return err
		}
		m.leave(first, entered)
		first += max(1, entered)
	}
	return nil
}

// extents reports the backing's extents, with data wherever a page is on its
// way there. The pages are looked at first: one that is written out meanwhile
// is in the backing by the time that is asked.
func (m *Mapping) extents(off, n int64, yield func(device.Extent) bool) error {
	m.findStored(off/PageSize, (off+n+PageSize-1)/PageSize)
	busy := m.busyRuns(off/PageSize, (off+n+PageSize-1)/PageSize)
	var open device.Extent // what is known but not yet yielded, to join neighbours
	more := true
	emit := func(e device.Extent) bool {
		switch {
		case e.Len == 0:
			return more
		case open.Len > 0 && open.Hole == e.Hole:
			open.Len += e.Len
			return more
		case open.Len > 0:
			more = yield(open)
		}
		open = e
		return more
	}
	err := device.Extents(m.backing, off, n, func(e device.Extent) bool {
		end := e.Off + e.Len
		for e.Hole && len(busy) > 0 && e.Off < end {
			lo, hi := max(busy[0].Off, e.Off), min(busy[0].Off+busy[0].Len, end)
			if lo >= end {
				break
			}
			if hi > e.Off {
				if !emit(device.Extent{Off: e.Off, Len: lo - e.Off, Hole: true}) || !emit(device.Extent{Off: lo, Len: hi - lo}) {
					return false
				}
				e.Off = hi
			}
			if hi == end {
				break
			}
			busy = busy[1:]
		}
		return emit(device.Extent{Off: e.Off, Len: end - e.Off, Hole: e.Hole})
	})
	if err != nil {
		return fmt.Errorf("cache: %s: %w", m.o.Name, err)
	}
	if more && open.Len > 0 {
		yield(open)
	}
	return nil
}

// busyRuns lists the runs of pages in [n, end) that are dirty or under
// write-out, as extents.
func (m *Mapping) busyRuns(n, end int64) []device.Extent {
	var runs []device.Extent
	for n < end {
		d, dok := m.tags.dirty.next(n, end)
		w, wok := m.tags.writeback.next(n, end)
		switch {
		case !dok && !wok:
			return runs
		case !dok || wok && w < d:
			d = w
		}
		if last := len(runs) - 1; last >= 0 && runs[last].Off+runs[last].Len == d*PageSize {
			runs[last].Len += PageSize
		} else {
			runs = append(runs, device.Extent{Off: d * PageSize, Len: PageSize})
		}
		n = d + 1
	}
	return runs
}
