package nbd

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"holdfast.dev/holdfast/device"
)

// disk is what a test serves: sparse memory with a volatile and a durable state,
// as a page cache has them.
type disk struct {
	size int64
	// cached says whether Try calls are served; nil: always. before runs ahead
	// of every other call and may fail or block it. extents replaces the answer
	// of Extents. All are set before the disk is served.
	cached  func(off, n int64) bool
	before  func(call string, off, n int64) error
	extents func(off, n int64, yield func(device.Extent) bool) error

	opened, closed atomic.Int64

	mu      sync.Mutex
	pages   map[int64]*[4096]byte
	durable map[int64][4096]byte
	dirty   map[int64]bool
	calls   []string // of everything but Try calls
}

func newDisk(size int64) *disk {
	return &disk{size: size, pages: map[int64]*[4096]byte{}, durable: map[int64][4096]byte{}, dirty: map[int64]bool{}}
}

// handle is an Export: one connection's view of a disk.
type handle struct{ *disk }

func (h handle) Size() int64 { return h.size }

func (h handle) Close() error {
	h.closed.Add(1)
	return nil
}

func (d *disk) enter(call string, off, n int64) error {
	d.mu.Lock()
	d.calls = append(d.calls, fmt.Sprintf("%s %d+%d", call, off, n))
	d.mu.Unlock()
	if d.before != nil {
		return d.before(call, off, n)
	}
	return nil
}

func (d *disk) called(call string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.calls, call)
}

// each runs f for every page of [off, off+n) with the part of it that is meant.
func each(off, n int64, f func(page, from, to int64)) {
	for end := off + n; off < end; {
		page := off / 4096
		from := off % 4096
		to := min(4096, from+end-off)
		f(page, from, to)
		off += to - from
	}
}

func (d *disk) read(p []byte, off int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := 0
	each(off, int64(len(p)), func(page, from, to int64) {
		if b := d.pages[page]; b != nil {
			copy(p[at:], b[from:to])
		} else {
			clear(p[at : at+int(to-from)])
		}
		at += int(to - from)
	})
}

func (d *disk) write(p []byte, off int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := 0
	each(off, int64(len(p)), func(page, from, to int64) {
		b := d.pages[page]
		if b == nil {
			b = new([4096]byte)
			d.pages[page] = b
		}
		copy(b[from:to], p[at:])
		d.dirty[page] = true
		at += int(to - from)
	})
}

func (h handle) ReadAt(p []byte, off int64) (int, error) {
	if err := h.enter("read", off, int64(len(p))); err != nil {
		n := 0
		if short := (*shortError)(nil); errors.As(err, &short) {
			n = short.n
			h.read(p[:n], off)
		}
		return n, err
	}
	h.read(p, off)
	return len(p), nil
}

// shortError makes ReadAt transfer n bytes before it fails.
type shortError struct{ n int }

func (e *shortError) Error() string { return fmt.Sprintf("failed after %d bytes", e.n) }

func (h handle) WriteAt(p []byte, off int64) (int, error) {
	if err := h.enter("write", off, int64(len(p))); err != nil {
		return 0, err
	}
	h.write(p, off)
	return len(p), nil
}

// ReadScattered is noted as a call from the first part on, of so many parts; and then
// each of them.
func (h handle) ReadScattered(parts []device.Part) error {
	if err := h.enter("gather", parts[0].Off, int64(len(parts))); err != nil {
		return err
	}
	for i := range parts {
		if _, err := h.ReadAt(parts[i].P, parts[i].Off); err != nil {
			return err
		}
	}
	return nil
}

func (h handle) TryReadAt(p []byte, off int64) bool {
	if h.cached != nil && !h.cached(off, int64(len(p))) {
		return false
	}
	h.read(p, off)
	return true
}

// TryWriteAt writes as far as pages are cached.
func (h handle) TryWriteAt(p []byte, off int64) (n int) {
	each(off, int64(len(p)), func(page, from, to int64) {
		at, k := page*4096+from, int(to-from)
		if at == off+int64(n) && (h.cached == nil || h.cached(at, int64(k))) {
			h.write(p[n:n+k], at)
			n += k
		}
	})
	return n
}

func (h handle) Discard(off, n int64) error     { return h.zero("discard", off, n) }
func (h handle) WriteZeroes(off, n int64) error { return h.zero("zero", off, n) }

// zero visits the pages that exist, so that a range of any length is quick.
func (d *disk) zero(call string, off, n int64) error {
	if err := d.enter(call, off, n); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for page, b := range d.pages {
		from, to := max(off-page*4096, 0), min(off+n-page*4096, 4096)
		if from >= to {
			continue
		}
		clear(b[from:to])
		d.dirty[page] = true
		if from == 0 && to == 4096 && call == "discard" {
			delete(d.pages, page)
		}
	}
	return nil
}

func (h handle) Prefetch(off, n int64) error { return h.enter("prefetch", off, n) }

func (h handle) Sync() error { return h.sync("sync", 0, h.size) }

func (h handle) SyncRange(off, n int64) error { return h.sync("syncrange", off, n) }

func (d *disk) sync(call string, off, n int64) error {
	if err := d.enter(call, off, n); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for page := range d.dirty {
		if page*4096 < off+n && off < (page+1)*4096 {
			if b := d.pages[page]; b != nil {
				d.durable[page] = *b
			} else {
				delete(d.durable, page)
			}
			delete(d.dirty, page)
		}
	}
	return nil
}

// durableByte is what a crash would leave at off.
func (d *disk) durableByte(off int64) byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.durable[off/4096][off%4096]
}

func (h handle) Extents(off, n int64, yield func(device.Extent) bool) error {
	if err := h.enter("extents", off, n); err != nil {
		return err
	}
	if h.extents != nil {
		return h.extents(off, n, yield)
	}
	h.mu.Lock()
	present := make([]int64, 0, len(h.pages))
	for page := range h.pages {
		if page*4096 < off+n && off < (page+1)*4096 {
			present = append(present, page)
		}
	}
	h.mu.Unlock()
	slices.Sort(present)
	end := off + n
	for _, page := range present {
		if start := page * 4096; start > off {
			if !yield(device.Extent{Off: off, Len: start - off, Hole: true}) {
				return nil
			}
			off = start
		}
		stop := min((page+1)*4096, end)
		if !yield(device.Extent{Off: off, Len: stop - off}) {
			return nil
		}
		off = stop
	}
	if off < end {
		yield(device.Extent{Off: off, Len: end - off, Hole: true})
	}
	return nil
}

// catalogue is Exports made of disks.
type catalogue struct {
	mu    sync.Mutex
	infos []Info
	disks []*disk
	// listing runs ahead of every List; opening ahead of every Open.
	listing func()
	opening func(name string) error
}

func (c *catalogue) add(i Info, d *disk) *catalogue {
	i.Size = d.size
	c.infos, c.disks = append(c.infos, i), append(c.disks, d)
	return c
}

func serving(d *disk) *catalogue { return new(catalogue).add(Info{Name: "main"}, d) }

func (c *catalogue) List() []Info {
	if c.listing != nil {
		c.listing()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.infos)
}

func (c *catalogue) Open(name string) (Export, error) {
	if c.opening != nil {
		if err := c.opening(name); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, info := range c.infos {
		if info.Name == name {
			c.disks[i].opened.Add(1)
			return handle{c.disks[i]}, nil
		}
	}
	return nil, ErrNoExport
}

// checkClosed fails the test unless every handle was closed exactly once.
func (c *catalogue) checkClosed(t testing.TB) {
	t.Helper()
	for i, d := range c.disks {
		if o, cl := d.opened.Load(), d.closed.Load(); o != cl {
			t.Errorf("export %q was opened %d times and closed %d times", c.infos[i].Name, o, cl)
		}
	}
}
