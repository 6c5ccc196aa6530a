package cache

import (
	"errors"
	"fmt"
	"slices"

	"holdfast.dev/holdfast/internal/mutant"
	"holdfast.dev/holdfast/internal/seam"
)

// AddressSpace has pages of a mapping mapped: that of another process, or a page
// table in data that a test goes through.
type AddressSpace interface {
	// Unmap says that the memory of pages is about to be punched, which takes them
	// out of every address space. It is for page tables that are data; the kernel's
	// own notice by themselves.
	Unmap(first, count int64)
	// Unannounced says that a page's bytes changed while nobody had write access
	// to it: somebody stored to the memory itself.
	//
	// Both are called with pages locked: they may not call the cache, have to return
	// within a bounded time, and cannot fail; an address space that cannot be reached
	// is detached.
	Unannounced(page int64)
}

// Mapper has pages mapped where the processor stores to them without a call, after a
// fault that announces the first.
type Mapper interface {
	AddressSpace
	// Protect takes write access to count pages from first on away, and returns
	// when no store with the old access can happen any more. The rules of
	// AddressSpace hold.
	Protect(first, count int64)
}

// Attachment is a mapper's way into a mapping. Its methods may be called from
// many goroutines at once; Close waits for them.
//
// Whoever has the memory can store to it whatever anybody promises. So from the
// first attachment on every write-out of the mapping goes from a snapshot, and
// only what was announced is relied on.
type Attachment struct {
	*Handle
	space AddressSpace
	// One of them is nil; the other is space.
	mapper Mapper
	async  AsyncMapper
}

// Attach lets a mapper in. It returns when no write-out is under way that is not
// from a snapshot.
func (m *Mapping) Attach(mapper Mapper) (*Attachment, error) {
	return m.attach(&Attachment{space: mapper, mapper: mapper})
}

func (m *Mapping) attach(a *Attachment) (*Attachment, error) {
	h, err := m.Open()
	if err != nil {
		return nil, err
	}
	a.Handle = h
	m.attached.Lock()
	m.attached.list = append(m.attached.list, a)
	m.attached.Unlock()
	m.exposing.Lock()
	m.exposed.Store(true)
	m.exposing.Unlock()
	m.waitForFrames()
	return a, nil
}

// waitForFrames returns when no write-out from frames is under way any more.
// Those that begin after exposed was set are from snapshots.
func (m *Mapping) waitForFrames() {
	for n := int64(0); ; n++ {
		next, ok := m.tags.writeback.next(n, m.arenaPages())
		if !ok {
			return
		}
		pg := m.page(next)
		pg.wait(func(w word) bool { return !w.has(writeback) || w.has(snapped) })
		n = next
	}
}

// Close ends the attachment, when its address space is gone or has none of the
// pages any more. What was stored stays, and is written out like anything else.
func (a *Attachment) Close() error {
	err := a.Handle.Close()
	if a.async != nil && err == nil {
		a.m.findStored(0, a.m.arenaPages())
		defer a.m.async.attached.Add(-1)
	}
	t := &a.m.attached
	t.Lock()
	defer t.Unlock()
	t.list = slices.DeleteFunc(t.list, func(b *Attachment) bool { return a == b })
	return err
}

// Memory is the descriptor of the memory in which page n lies at n*PageSize. It
// belongs to the cache.
func (a *Attachment) Memory() int { return a.m.arena.fd }

// ReadFault makes a page valid and calls grant, once, with a run of pages that
// begins with it and has up to most that are valid already, so that it maps them
// without write access. Until it returns they neither change nor leave.
func (a *Attachment) ReadFault(n, most int64, grant func(first, count int64) error) error {
	if err := a.begin(n*PageSize, PageSize); err != nil {
		return err
	}
	defer a.calls.leave()
	for {
		count, seen := a.enterRun(n, max(most, 1))
		if count == 0 {
			if err := a.m.bringIn(n); err != nil {
				return err
			}
			continue
		}
		err := a.give(n, count, seen, grant)
		a.m.leaveRun(n, count)
		if a.async != nil && seen.has(amapped) {
			a.m.settle(n, n+count)
		}
		return err
	}
}

// give has access given to pages that are locked or entered; seen has the bits
// that any of them had before.
func (a *Attachment) give(n, count int64, seen word, grant func(first, count int64) error) error {
	if a.async == nil {
		return grant(n, count)
	}
	return a.m.mapAsync(a, n, count, seen.has(amapped), grant)
}

// enterRun enters page n and up to most in all, as far as they are valid and
// their frame is what readers see. seen has the bits that any of them had before.
func (a *Attachment) enterRun(n, most int64) (count int64, seen word) {
	for count < most && n+count < a.m.pages() {
		pg := a.m.page(n + count)
		w, ok := pg.enter(allSectors, a.mark(0))
		if !ok {
			break
		}
		if w.has(shadow) {
			pg.leave()
			break
		}
		seen |= w
		count++
	}
	return count, seen
}

func (m *Mapping) leaveRun(n, count int64) {
	for i := range count {
		pg := m.page(n + i)
		pg.leave()
	}
}

// mark is the bit of a page that the attachment's address space has mapped; of one
// whose stores are announced, the bit given.
func (a *Attachment) mark(announced word) word {
	if a.async != nil {
		return amapped
	}
	return announced
}

// bringIn makes page n one that can be entered, or waits until it may be.
func (m *Mapping) bringIn(n int64) error {
	pg := m.page(n)
	w := pg.load()
	switch {
	case w.valid() != allSectors:
		return m.prefetch(n*PageSize, PageSize)
	case w.has(damaged):
		return m.damagedError(n)
	case w.has(shadow):
		pg.waitWriteback()
	default:
		m.awaitEntry(&pg, w)
	}
	return nil
}

// WriteFault makes a page valid, asks its owner, and marks it dirty and mapped
// writable; then it calls grant, once, to give write access to it and to up to
// most pages in all that follow and are ready. If the owner refuses it fails with
// ErrRefused, or with ErrHeld: no byte has changed, and the store must fail.
//
// Where stores are not announced it marks page n dirty, which has the store wait
// for the dirty limit, and grant maps the pages without write access.
func (a *Attachment) WriteFault(n, most int64, grant func(first, count int64) error) error {
	if err := a.begin(n*PageSize, PageSize); err != nil {
		return err
	}
	defer a.calls.leave()
	for {
		if err := a.m.prefetch(n*PageSize, PageSize); err != nil {
			return err
		}
		err := a.tryWriteFault(n, max(most, 1), grant)
		if !errors.Is(err, errAgain) {
			return err
		}
	}
}

func (a *Attachment) tryWriteFault(n, most int64, grant func(first, count int64) error) error {
	seen, err := a.openToWrite(n, true)
	if err != nil {
		return err
	}
	opened, entered := int64(1), int64(0)
	if a.async != nil {
		more := word(0)
		entered, more = a.enterRun(n+1, most-1)
		seen |= more
	} else {
		for opened < most && n+opened < a.m.pages() {
			if _, err := a.openToWrite(n+opened, false); err != nil {
				break
			}
			opened++
		}
	}
	err = a.give(n, opened+entered, seen, grant)
	a.m.leaveRun(n+opened, entered)
	for i := range opened {
		pg := a.m.page(n + i)
		pg.unlock(0, 0)
	}
	if mutant.On(mutant.NotifiedAfter) && err == nil && !seen.has(reserved) {
		seam.Point("cache.notify", uint64(n))
		err = a.m.backing.Reserve(n*PageSize, PageSize)
	}
	if a.async != nil && seen.has(amapped) {
		a.m.settle(n, n+opened+entered)
	}
	return err
}

// openToWrite marks a page dirty and mapped and leaves it locked, with nobody in
// it. With wait false it does so only if it need not wait for anything. It returns
// the word that it found.
func (a *Attachment) openToWrite(n int64, wait bool) (word, error) {
	m := a.m
	adm := admission{m: m}
	defer adm.close()
	pg := m.page(n)
	if err := adm.admit(n, pg.load()|present, wait); err != nil {
		return 0, err
	}
	if !pg.lockDrained(wait) {
		return 0, errWouldWait
	}
	w := pg.load()
	switch {
	case w.valid() != allSectors, !adm.suffices(w):
		pg.unlock(0, 0)
		return 0, errAgain
	case w.has(held):
		pg.unlock(0, 0)
		return 0, m.heldError(n)
	case w.has(damaged):
		pg.unlock(0, 0)
		return 0, m.damagedError(n)
	case w.has(writeback) && !w.has(snapped):
		pg.unlock(0, 0)
		if !wait {
			return 0, errWouldWait
		}
		adm.close()
		pg.waitWriteback()
		return 0, errAgain
	}
	if mutant.On(mutant.NotifiedAfter) {
		adm.dirty = adm.dirty && w.has(reserved)
	} else if err := m.reserve(&pg, &adm); err != nil {
		return 0, err
	}
	seam.Point("cache.writefault", uint64(n))
	m.tags.dirty.set(n)
	pg.change(guarded, reserved|a.mark(wmapped)|dirtyBits(allSectors))
	return w, nil
}

// protect has every mapper take write access away. Requires the pages locked.
func (m *Mapping) protect(first, count int64) {
	for _, a := range m.attachments() {
		if a.mapper != nil {
			a.mapper.Protect(first, count)
		}
	}
}

// tell lets the mappers know of a change that nobody announced: it was one of
// them.
func (m *Mapping) tell(n int64) {
	for _, a := range m.attachments() {
		a.space.Unannounced(n)
	}
}

func (m *Mapping) attachments() []*Attachment {
	m.attached.Lock()
	defer m.attached.Unlock()
	return slices.Clone(m.attached.list)
}

// Withdraw takes a page out of every address space and calls refuse, which sees
// to it that accesses to it fail in one of them. While it runs the page's memory
// is a hole, and nobody is given the page. If somebody has write access to it by
// now, and so its owner's consent, or may have, or it is pinned, nothing is done and it returns
// false.
func (a *Attachment) Withdraw(n int64, refuse func() error) (bool, error) {
	m := a.m
	if !a.calls.enter() {
		return false, fmt.Errorf("cache: %s: %w", m.o.Name, ErrClosed)
	}
	defer a.calls.leave()
	if n >= m.arenaPages() {
		return true, refuse()
	}
	pg := m.page(n)
	pg.lock()
	defer pg.unlock(0, 0)
	pg.drain()
	w := pg.load()
	switch {
	case w.has(wmapped | amapped | pinsMask):
		return false, nil
	case !w.has(present):
		return true, refuse()
	}
	frame := m.arena.frames(n, 1)
	buf := pagePool.Get().(*[PageSize]byte)
	defer pagePool.Put(buf)
	copy(buf[:], frame)
	m.punch(n, 1)
	seam.Point("cache.withdraw", uint64(n))
	err := refuse()
	copy(frame, buf[:])
	return true, err
}
