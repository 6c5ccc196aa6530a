package cache

import (
	"fmt"
	"sync"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/rangelock"
	"holdfast.dev/holdfast/internal/seam"
)

// fetchCount is how many fetches read to a buffer at once, beside the budget: 2 MiB of
// buffers. Others read to where the frames are mapped, which costs a fault for each.
const fetchCount = 8

// fetch is parts of a mapping whose pages are absent and are read from the backing
// together. While it has any it waits for nothing but that: where somebody else has a
// page, or more is to be read along, a part is left to be read by itself.
type fetch struct {
	m     *Mapping
	runs  []fetched
	parts []device.Part // where their pages are read to
	left  []*device.Part
	buf   *buffer // where the parts are, if not in the frames
	used  int64   // pages of it
}

// fetched is the pages of a part, which are locked.
type fetched struct {
	n, count int64
	part     *device.Part
	held     *rangelock.Held
}

var fetches = sync.Pool{New: func() any { return new(fetch) }}

// readScattered fills parts, each as read would, but those that are in pages which are
// absent with one read of the backing.
func (m *Mapping) readScattered(parts []device.Part) error {
	f := fetches.Get().(*fetch)
	defer f.giveBack()
	f.m = m
	want := int64(0)
	for i := range parts {
		p := &parts[i]
		if m.tryRead(p.P, p.Off) {
			m.c.counters.hits.Add(1)
			continue
		}
		f.left = append(f.left, p)
		want += pagesOf(p)
	}
	if want <= m.c.fillPages() {
		if err := m.c.charge(want); err != nil {
			return err
		}
		f.buf = m.c.fetched.get(false)
		f.take()
		read, err := f.read()
		m.c.fetched.put(f.buf)
		m.c.uncharge(want - read)
		if err != nil {
			return err
		}
	}
	for _, p := range f.left {
		if _, err := m.read(p.P, p.Off); err != nil {
			return err
		}
	}
	return nil
}

// pagesOf is how many pages a part touches.
func pagesOf(p *device.Part) int64 {
	return (p.Off+int64(len(p.P))+PageSize-1)/PageSize - p.Off/PageSize
}

// take locks the pages of what is left, as far as they are absent and free.
func (f *fetch) take() {
	left := f.left[:0]
	for _, p := range f.left {
		if !f.takeOne(p) {
			left = append(left, p)
		}
	}
	f.left = left
}

func (f *fetch) takeOne(p *device.Part) bool {
	m, n, count := f.m, p.Off/PageSize, pagesOf(p)
	if count == 0 || m.follow(n, count) > 0 {
		return false
	}
	h := m.ranges.TryAcquire(n*PageSize, count*PageSize, rangelock.Shared)
	if h == nil {
		return false
	}
	locked := m.lockAbsent(n, min(count, m.pages()-n))
	if locked < count {
		m.unlockAbsent(n, locked)
		m.ranges.Release(h)
		return false
	}
	f.runs = append(f.runs, fetched{n, count, p, h})
	f.parts = append(f.parts, device.Part{P: f.place(n, count), Off: n * PageSize})
	return true
}

// place says where pages are to be read to.
func (f *fetch) place(n, count int64) []byte {
	if f.buf == nil || f.used+count > bufferPages {
		return f.m.arena.frames(n, count)
	}
	f.used += count
	return f.buf.mem[(f.used-count)*PageSize : f.used*PageSize]
}

// read reads what was taken and gives it out. It returns how many pages it has read.
func (f *fetch) read() (pages int64, err error) {
	if len(f.runs) == 0 {
		return 0, nil
	}
	m := f.m
	seam.Point("cache.fetch", uint64(f.runs[0].n))
	if err = device.ReadScattered(m.backing, f.parts); err != nil {
		err = fmt.Errorf("cache: %s: reading %d parts together, the first at %d: %w", m.o.Name, len(f.parts), f.parts[0].Off, err)
	}
	for i := range f.runs {
		r := &f.runs[i]
		if err != nil {
			m.arena.punch(r.n, r.count)
			m.unlockAbsent(r.n, r.count)
		} else {
			f.finish(r, f.parts[i].P)
			pages += r.count
		}
		m.ranges.Release(r.held)
	}
	return pages, err
}

// finish makes pages valid that were read to p, and gives out what is wanted of them.
func (f *fetch) finish(r *fetched, p []byte) {
	m := f.m
	m.c.counters.misses.Add(1)
	m.c.counters.pagesRead.Add(r.count)
	if &p[0] != &m.arena.frames(r.n, 1)[0] { // there was room in a buffer
		m.arena.fill(r.n, p)
	}
	m.finishFill(r.n, r.count, r.count, p)
	copy(r.part.P, p[r.part.Off%PageSize:])
	m.leave(r.n, r.count)
}

// giveBack makes the fetch fit for the next.
func (f *fetch) giveBack() {
	clear(f.runs)
	clear(f.parts)
	clear(f.left)
	*f = fetch{runs: f.runs[:0], parts: f.parts[:0], left: f.left[:0]}
	fetches.Put(f)
}
