//go:build explore

package scenario

import (
	"errors"

	"golang.org/x/sys/unix"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/seam"
)

// process is a program that has the volume mapped: a page table in data, over the
// very memory of the cache. A load or store that its table does not allow is a fault,
// which the cache answers; where stores are not announced the table notices them, as
// the system does.
type process struct {
	h     *house
	a     *cache.Attachment
	async bool
	mem   []byte
	table map[int64]*entry
}

// entry is a page's place in the table.
type entry struct {
	present, writable, poisoned bool
	// dirty says that the page was stored to since it was collected. It outlives the
	// page's leaving.
	dirty bool
}

// errBus is what a process gets that may not store.
var errBus = errors.New("SIGBUS")

// process maps the volume.
func (h *house) process(async bool) *process {
	p := &process{h: h, async: async, table: map[int64]*entry{}}
	var err error
	if async {
		h.owner.owns = true
		p.a, err = h.mapping.AttachAsync(p)
	} else {
		p.a, err = h.mapping.Attach(p)
	}
	h.failed("attach", err)
	p.mem, err = unix.Mmap(p.a.Memory(), 0, int(h.o.pages*cache.PageSize), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	h.failed("map", err)
	h.x.AtEnd(func() { must(unix.Munmap(p.mem)) })
	return p
}

func (p *process) at(page int64) *entry {
	p.h.x.Touch(p)
	if p.table[page] == nil {
		p.table[page] = new(entry)
	}
	return p.table[page]
}

// store stores a version to some sectors of one page. It returns errBus if the
// cache refuses: then no byte has changed.
func (p *process) store(sector, count int64, version byte) error {
	page := sector / sectorsPerPage
	for {
		seam.Point("process.store", uint64(page))
		e := p.at(page)
		if e.poisoned {
			return errBus
		}
		if e.present && e.writable {
			p.h.begin(sector, count, version)()
			p.h.x.Note("stores %s to %s", name(version), place(sector, count))
			copy(p.mem[sector*device.SectorSize:], fill(version, count))
			e.dirty = p.async
			return nil
		}
		if err := p.a.WriteFault(page, 1, p.grant(true)); err != nil {
			p.h.x.Note("  the store is refused")
			return errors.Join(errBus, err)
		}
	}
}

// load checks what the process finds in a page.
func (p *process) load(page int64) {
	began := p.h.tick()
	for {
		seam.Point("process.load", uint64(page))
		if p.at(page).present {
			break
		}
		if err := p.a.ReadFault(page, 1, p.grant(false)); err != nil {
			p.h.failed("a load", err)
			return
		}
	}
	for s := range int64(sectorsPerPage) {
		sector := page*sectorsPerPage + s
		p.h.checkSector(p.mem[sector*device.SectorSize:][:device.SectorSize], sector, func(sector int64, version byte) error {
			return p.h.mayRead(sector, version, began)
		})
	}
}

// grant maps pages. Where stores are not announced every page is mapped so that the
// first store to it is noticed.
func (p *process) grant(write bool) func(first, count int64) error {
	return func(first, count int64) error {
		for n := first; n < first+count; n++ {
			e := p.at(n)
			if p.async && !e.present {
				e.dirty = false // what is mapped over is forgotten
			}
			e.present = true
			e.writable = e.writable || write || p.async
		}
		return nil
	}
}

// Protect implements cache.Mapper.
func (p *process) Protect(first, count int64) {
	for n := first; n < first+count; n++ {
		p.at(n).writable = false
	}
}

// Collect implements cache.AsyncMapper.
func (p *process) Collect(first, count int64, stored func(first, count int64)) {
	p.h.x.Touch(p)
	for n := first; n < first+count; n++ {
		if e := p.table[n]; e != nil && e.dirty {
			e.dirty = false
			stored(n, 1)
		}
	}
}

// Unmap implements cache.AddressSpace.
func (p *process) Unmap(first, count int64) {
	for n := first; n < first+count; n++ {
		e := p.at(n)
		e.present, e.writable = false, false
	}
}

// Unannounced implements cache.AddressSpace: a page changed that nobody had access to.
func (p *process) Unannounced(page int64) {
	p.h.x.Fail("H5: page %d is said to have changed unannounced", page)
}
