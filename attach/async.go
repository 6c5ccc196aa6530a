package attach

import (
	"errors"
	"fmt"
	"sync"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/internal/uffd"
)

var _ cache.AsyncMapper = (*window)(nil)

// attach lets the window in, in the asynchronous mode if everybody can do with it.
func (w *window) attach(volume *cache.Mapping, flags uint32) (*cache.Attachment, error) {
	why := "this server has every store announced"
	if w.writable && flags&mapAsync != 0 && !w.c.s.o.Announced {
		w.async = true
		mem, err := volume.AttachAsync(w)
		if !errors.Is(err, cache.ErrNotAsync) {
			return mem, err
		}
		w.async = false
		why = "stores may be refused, by the owner or for a hold"
	}
	if flags&mapAsyncOnly != 0 {
		return nil, fmt.Errorf("%w: %s", ErrNotAsync, why)
	}
	return volume.Attach(w)
}

// handlePagemap keeps the page map of a client until his userfaultfd comes.
func (c *session) handlePagemap(w *window, m *message, fd int) error {
	if fd < 0 || !w.async || w.pagemap >= 0 || w.deadline == nil {
		closeFD(fd)
		return fmt.Errorf("%w: no page map, or not one that is expected, for window %d", errProtocol, w.id)
	}
	w.pagemap = fd
	return c.answer(m, nil)
}

// adopt takes over the userfaultfd, and the page map if that is needed.
func (w *window) adopt(fd int) (*uffd.FD, error) {
	if !w.async {
		return uffd.Adopt(fd)
	}
	f, err := uffd.AdoptAsync(fd, w.pagemap)
	if err == nil {
		w.pagemap = -1
	}
	return f, err
}

// regionsMost is how many regions one scan tells of: what a page table needs
// where every other page was stored to.
const regionsMost = blockPages

// scan is what one scan of an address space needs and finds.
type scan struct {
	regions [regionsMost]uffd.Region
	found   []uffd.Region // of regions
	done    int           // bytes
}

var scans = sync.Pool{New: func() any { return new(scan) }}

// Collect implements cache.AsyncMapper.
func (w *window) Collect(first, count int64, stored func(first, count int64)) {
	w.eachWritten(first, count, func(first, count int64) {
		w.c.s.count.scans.Add(1)
		for count > 0 {
			n, err := w.collect(first, count, stored)
			if err != nil {
				// Whatever can be found out no more may have happened.
				stored(first, count)
				w.judge(err)
				return
			}
			first, count = first+n, count-n
		}
	})
}

// Unmap implements cache.AddressSpace: the punch is all that the kernel needs.
func (w *window) Unmap(first, count int64) {}

// collect does one scan, and returns how far it came.
func (w *window) collect(first, count int64, stored func(first, count int64)) (int64, error) {
	s := scans.Get().(*scan)
	if err := w.reach.scan(w.at(first), int(count*cache.PageSize), s); err != nil {
		// It may be in use still.
		return 0, err
	}
	for i := range s.found {
		if r := &s.found[i]; r.Stored() {
			from := w.first + int64(uintptr(r.Start)-w.addr)/cache.PageSize
			stored(from, int64(r.End-r.Start)/cache.PageSize)
		}
	}
	n := int64(s.done) / cache.PageSize
	scans.Put(s)
	return n, nil
}
