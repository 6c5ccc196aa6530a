package attach

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/internal/uffd"
)

// Flags say how a volume is mapped.
type Flags uint32

const (
	// ReadOnly maps for reading.
	ReadOnly Flags = 0
	// ReadWrite maps for reading and storing. The asynchronous mode, in which a
	// first store to a page waits for nobody, is used where it is possible.
	ReadWrite Flags = 1
	// Async asks for the asynchronous mode: Map fails with ErrNotAsync where it is
	// not possible.
	Async Flags = 2
	// Announced forbids it: each first store to a page is announced to the server.
	Announced Flags = 4
)

// Advice says how a range will be used.
type Advice uint32

const (
	// WillNeed brings the range in and maps it, beginning at once; of a long range
	// only a part.
	WillNeed Advice = 1
	// DontNeed takes the range out of this process. What was stored is kept, and
	// an access brings it back.
	DontNeed Advice = 2
	// Sequential makes the whole mapping be mapped further ahead of reads.
	Sequential Advice = 3
)

// Mapping is a part of a volume in this process's memory.
type Mapping struct {
	c      *Client
	window uint64
	volume string
	flags  Flags
	mem    []byte
	fd     *uffd.FD
	async  bool

	mu struct {
		sync.Mutex
		// cut says that the server is gone and accesses fail; closed, that there is
		// no memory any more.
		cut, closed bool
	}
}

// Map maps n bytes of a volume from off on, both multiples of the page size,
// 4096; 0 bytes are all to the end.
func (c *Client) Map(volume string, off, n int64, flags Flags) (*Mapping, error) {
	m, err := c.newMapping(volume, off, n, flags)
	if err != nil {
		return nil, fmt.Errorf("attach: map %q: %w", volume, err)
	}
	return m, nil
}

func (c *Client) newMapping(volume string, off, n int64, flags Flags) (*Mapping, error) {
	if len(volume) > textSize || off < 0 || n < 0 {
		return nil, fmt.Errorf("%w: a name has at most %d bytes, offset and length are not below zero", ErrInvalid, textSize)
	}
	// Its page map is closed to a process that may not be looked into.
	pagemap, can := uffd.OpenPagemap()
	if can == nil {
		defer pagemap.Close()
		can = uffd.CanAsync()
	}
	wire, err := flags.wire(can)
	if err != nil {
		return nil, err
	}
	a, err := c.ask(&message{kind: kindMap, flags: wire, off: uint64(off), n: uint64(n), text: volume}, -1)
	if err != nil {
		return nil, err
	}
	defer closeFD(a.fd)
	m := &Mapping{c: c, window: a.window, volume: volume, flags: flags, async: a.flags&mapAsync != 0}
	err = m.place(a.fd, off, int(a.n))
	if err == nil && m.async {
		_, err = c.ask(&message{kind: kindPagemap, window: m.window}, int(pagemap.Fd()))
	}
	if err == nil {
		err = m.offer()
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// wire is what the server is asked for by a process in which can says whether the
// asynchronous mode is possible.
func (f Flags) wire(can error) (uint32, error) {
	switch {
	case f&^(ReadWrite|Async|Announced) != 0, f&Async != 0 && f&Announced != 0, f&(Async|Announced) != 0 && f&ReadWrite == 0:
		return 0, fmt.Errorf("%w: flags %#x", ErrInvalid, uint32(f))
	case f&Async != 0 && can != nil:
		return 0, fmt.Errorf("%w: %w", ErrNotAsync, can)
	case f&Async != 0:
		return mapStore | mapAsync | mapAsyncOnly, nil
	case f == ReadWrite && can == nil:
		return mapStore | mapAsync, nil
	}
	return uint32(f & ReadWrite), nil
}

// Async says whether the mapping is in the asynchronous mode.
func (m *Mapping) Async() bool { return m.async }

// place maps the memory and registers it.
func (m *Mapping) place(fd int, off int64, n int) error {
	if n <= 0 {
		return fmt.Errorf("%w: the server offers %d bytes", ErrFailed, n)
	}
	// The kernel registers a shared mapping only if its descriptor can be stored
	// through. A private one that is never stored to shows the same pages.
	prot, kind := unix.PROT_READ, unix.MAP_PRIVATE
	if m.flags&ReadWrite != 0 {
		prot, kind = unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED
	}
	at, err := unix.MmapPtr(fd, off, nil, uintptr(n), prot, kind|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("map %d bytes: %w", n, err)
	}
	m.mem = unsafe.Slice((*byte)(at), n)
	// A forked process would have the memory without its pager, and find zeros.
	if err := unix.Madvise(m.mem, unix.MADV_DONTFORK); err != nil {
		return fmt.Errorf("madvise: %w", err)
	}
	if m.fd, err = uffd.Create(uffd.Mode(m.async)); err != nil {
		return err
	}
	return m.fd.Register(uintptr(at), n)
}

// offer has the server serve the mapping. From when the client knows of it, it
// is cut off when the server goes.
func (m *Mapping) offer() error {
	m.c.mu.Lock()
	err := m.c.mu.err
	if err == nil {
		m.c.mu.mappings[m] = true
	}
	m.c.mu.Unlock()
	if err != nil {
		return err
	}
	live.add(m)
	_, err = m.c.ask(&message{kind: kindServe, window: m.window, addr: uint64(m.start())}, m.fd.Fd())
	return err
}

func (m *Mapping) start() uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(m.mem))) }

// Bytes is the memory. After Close it must not be touched.
func (m *Mapping) Bytes() []byte { return m.mem }

// KernelFaults says whether the memory can be given to system calls, such as
// read(2) into it. Where not (see vm.unprivileged_userfaultfd and
// /dev/userfaultfd in the kernel's documentation) they fail with EFAULT at pages
// that are not mapped yet: use a buffer of your own there, and copy.
func (m *Mapping) KernelFaults() bool { return m.fd.KernelFaults() }

// Sync makes everything durable that was stored before, by this process.
func (m *Mapping) Sync() error { return m.SyncRange(0, int64(len(m.mem))) }

// SyncRange is Sync for the pages that [off, off+n) of the mapping touches.
func (m *Mapping) SyncRange(off, n int64) error {
	_, err := m.c.ask(&message{kind: kindSync, window: m.window, off: uint64(off), n: uint64(n)}, -1)
	if err != nil {
		return fmt.Errorf("attach: sync %q, %d bytes at %d: %w", m.volume, n, off, err)
	}
	return nil
}

// Advise says how [off, off+n) of the mapping will be used.
func (m *Mapping) Advise(off, n int64, a Advice) error {
	var err error
	if a == DontNeed {
		err = m.forget(off, n)
	} else {
		_, err = m.c.ask(&message{kind: kindAdvise, window: m.window, off: uint64(off), n: uint64(n), flags: uint32(a)}, -1)
	}
	if err != nil {
		return fmt.Errorf("attach: advise %q, %d bytes at %d: %w", m.volume, n, off, err)
	}
	return nil
}

// forget takes the whole pages of [off, off+n) out of this process.
func (m *Mapping) forget(off, n int64) error {
	if off < 0 || n < 0 || n > int64(len(m.mem))-off {
		return fmt.Errorf("%w: the mapping has %d bytes", ErrInvalid, len(m.mem))
	}
	first, end := (off+cache.PageSize-1)&^(cache.PageSize-1), (off+n)&^(cache.PageSize-1)
	if first >= end {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed {
		return ErrClosed
	}
	return unix.Madvise(m.mem[first:end], unix.MADV_DONTNEED)
}

// Close unmaps. What was stored stays, and becomes durable as the volume's other
// writes do; Sync before makes sure. Nobody may use the memory any more.
func (m *Mapping) Close() error {
	m.c.mu.Lock()
	delete(m.c.mu.mappings, m)
	m.c.mu.Unlock()
	live.remove(m)
	// The server takes write access away first, so that it knows of every store.
	_, err := m.c.ask(&message{kind: kindUnmap, window: m.window}, -1)
	if errors.Is(err, ErrGone) {
		err = nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed {
		return nil
	}
	m.mu.closed = true
	if m.mem != nil {
		err = errors.Join(err, unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(m.mem)), uintptr(len(m.mem))))
	}
	if m.fd != nil && !m.mu.cut {
		err = errors.Join(err, m.fd.Close())
	}
	return err
}

// cut makes every access fail with SIGBUS: the server is gone. Who waits in the
// memory is woken and finds that too.
func (m *Mapping) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed || m.mu.cut {
		return
	}
	m.mu.cut = true
	at, n := unsafe.Pointer(unsafe.SliceData(m.mem)), uintptr(len(m.mem))
	if _, err := unix.MmapPtr(m.c.empty, 0, at, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED); err != nil {
		// The process is at a limit of its own. Accesses then fail with SIGSEGV,
		// which is as good: what must not be is zeros.
		_ = unix.MunmapPtr(at, n)
	}
	// Woken even if the server is merely letting this client go and still has the
	// userfaultfd. Neither can fail in a way that leaves something to be done.
	_ = m.fd.Wake(m.start(), len(m.mem))
	_ = m.fd.Close()
}
