package attach

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/device"
)

// handle does one request, or hands it to the background. An error ends the
// session; what is only refused is answered.
func (c *session) handle(m *message, fd int) error {
	if fd >= 0 && m.kind != kindServe && m.kind != kindPagemap {
		closeFD(fd)
		return fmt.Errorf("%w: a descriptor with request %d", errProtocol, m.kind)
	}
	if m.kind == kindMap {
		return c.handleMap(m)
	}
	c.mu.Lock()
	w := c.mu.windows[m.window]
	c.mu.Unlock()
	if w == nil {
		closeFD(fd)
		return c.answer(m, fmt.Errorf("%w: no window %d", ErrInvalid, m.window))
	}
	switch m.kind {
	case kindPagemap:
		return c.handlePagemap(w, m, fd)
	case kindServe:
		return c.handleServe(w, m, fd)
	case kindSync:
		return c.handleSync(w, m)
	case kindAdvise:
		return c.handleAdvise(w, m)
	case kindPin:
		return c.handlePin(w, m)
	case kindUnpin:
		return c.handleUnpin(w, m)
	case kindUnmap:
		c.mu.Lock()
		delete(c.mu.windows, m.window)
		c.mu.Unlock()
		w.release()
		return c.answer(m, nil)
	}
	return fmt.Errorf("%w: request %d is unknown", errProtocol, m.kind)
}

// handleMap makes a window that is served once its client has sent what it
// needs, and gives the client the memory.
func (c *session) handleMap(m *message) error {
	w, err := c.newWindow(m)
	if err != nil {
		return c.answer(m, err)
	}
	fd, err := w.descriptor()
	if err != nil {
		w.release()
		return c.answer(m, err)
	}
	defer closeFD(fd)
	c.mu.Lock()
	c.mu.last++
	w.id = c.mu.last
	c.mu.windows[w.id] = w
	c.mu.Unlock()
	w.deadline = time.AfterFunc(c.s.o.HandshakeTimeout, func() {
		c.detach(fmt.Errorf("%w: no userfaultfd came for window %d in %v", errProtocol, w.id, c.s.o.HandshakeTimeout))
	})
	flags := uint32(0)
	if w.async {
		flags = mapAsync
	}
	return c.sock.send(&message{
		kind: m.kind | reply, id: m.id, window: w.id, flags: flags,
		off: uint64(w.first * cache.PageSize), n: uint64(w.pages * cache.PageSize),
	}, fd)
}

// newWindow checks a request for a window and attaches it.
func (c *session) newWindow(m *message) (*window, error) {
	c.mu.Lock()
	full := len(c.mu.windows) >= c.s.o.MaxWindows
	c.mu.Unlock()
	switch {
	case full:
		return nil, fmt.Errorf("%w: more than %d windows", ErrInvalid, c.s.o.MaxWindows)
	case m.flags&^uint32(mapStore|mapAsync|mapAsyncOnly) != 0:
		return nil, fmt.Errorf("%w: unknown flags %#x", ErrInvalid, m.flags)
	case m.off%cache.PageSize != 0 || m.n%cache.PageSize != 0:
		return nil, fmt.Errorf("%w: not whole pages of %d bytes", ErrInvalid, cache.PageSize)
	case m.off > maxWindow || m.n > maxWindow:
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrInvalid, int64(maxWindow))
	}
	w := &window{c: c, volume: m.text, pagemap: -1, writable: m.flags&mapStore != 0}
	volume, err := c.s.o.Volumes(m.text)
	if err != nil {
		return nil, fmt.Errorf("%w: %q: %w", ErrNoVolume, m.text, err)
	}
	mem, err := w.attach(volume, m.flags)
	if err != nil {
		return nil, err
	}
	off, n := int64(m.off), int64(m.n)
	if n == 0 {
		n = mem.Size() - off
	}
	if err := device.CheckRange(mem.Size(), off, n); err != nil || n <= 0 {
		return nil, errors.Join(fmt.Errorf("%w: the volume has %d bytes", ErrInvalid, mem.Size()), mem.Close())
	}
	w.mem, w.first, w.pages = mem, off/cache.PageSize, n/cache.PageSize
	if w.writable {
		w.written = newBlocks(w.pages)
	}
	w.around.Store(around)
	return w, nil
}

// descriptor returns a descriptor of the memory to send: one that cannot be
// stored through for a window that is for reading only.
func (w *window) descriptor() (int, error) {
	// Others than the owner must not make a writable descriptor of one that is
	// for reading only. Memory files are open to everybody when they are made.
	if err := unix.Fchmod(w.mem.Memory(), 0o600); err != nil {
		return -1, fmt.Errorf("mode of a volume's memory: %w", err)
	}
	mode := unix.O_RDONLY
	if w.writable {
		mode = unix.O_RDWR
	}
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(w.mem.Memory()), mode|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("descriptor of a volume's memory: %w", err)
	}
	return fd, nil
}

// handleServe takes over the client's userfaultfd and starts the pager. What does
// not fit ends the session: the client's memory is not what it says it is.
func (c *session) handleServe(w *window, m *message, fd int) error {
	if fd < 0 || w.async != (w.pagemap >= 0) || w.deadline == nil || !w.deadline.Stop() {
		closeFD(fd)
		return fmt.Errorf("%w: no descriptor, or a second one, for window %d", errProtocol, w.id)
	}
	w.deadline = nil
	n := uint64(w.pages) * cache.PageSize
	if m.addr%cache.PageSize != 0 || m.addr > maxAddress || n > maxAddress-m.addr {
		closeFD(fd)
		return fmt.Errorf("%w: window %d at %#x", errProtocol, w.id, m.addr)
	}
	f, err := w.adopt(fd)
	if err != nil {
		closeFD(fd)
		return err
	}
	if err := w.serve(f, uintptr(m.addr)); err != nil {
		return err
	}
	return c.answer(m, nil)
}

// maxAddress is beyond every address of a program, and far from overflow.
const maxAddress = 1 << 62

// handleSync makes what was stored durable. The reply may come after those to
// later requests.
func (c *session) handleSync(w *window, m *message) error {
	if err := w.check(m); err != nil {
		return c.answer(m, err)
	}
	request := *m
	c.inBackground(func() {
		err := w.mem.SyncRange(w.first*cache.PageSize+int64(request.off), int64(request.n))
		if err != nil {
			c.s.log.Warn("sync for a client failed", "pid", c.cred.Pid, "volume", w.volume, "err", err)
		}
		if err := c.answer(&request, err); err != nil {
			c.detach(err)
		}
	})
	return nil
}

// check refuses a range that is not within the window.
func (w *window) check(m *message) error {
	if size := uint64(w.pages) * cache.PageSize; m.off > size || m.n > size-m.off {
		return fmt.Errorf("%w: the mapping has %d bytes", ErrInvalid, size)
	}
	return nil
}

// handleAdvise is answered before anything is done about it.
func (c *session) handleAdvise(w *window, m *message) error {
	if err := w.check(m); err != nil {
		return c.answer(m, err)
	}
	switch Advice(m.flags) {
	case WillNeed:
		first := w.first + int64(m.off)/cache.PageSize
		end := w.first + (int64(m.off+min(m.n, willNeedMost))+cache.PageSize-1)/cache.PageSize
		if w.pager != nil {
			c.inBackground(func() { w.pager.bringIn(first, end) })
		}
	case Sequential:
		w.around.Store(aroundSequential)
	default:
		return c.answer(m, fmt.Errorf("%w: advice %d", ErrInvalid, m.flags))
	}
	return c.answer(m, nil)
}

// inBackground runs f beside the requests that follow. Where too many are under
// way already, it waits, and the client's requests with it.
func (c *session) inBackground(f func()) {
	c.slots <- struct{}{}
	c.background.Go(func() {
		defer func() { <-c.slots }()
		f()
	})
}
