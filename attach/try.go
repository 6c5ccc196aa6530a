package attach

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"holdfast.dev/holdfast/cache"
)

// AccessError says that an access to a mapping failed.
type AccessError struct {
	// Addr is the address, Volume and Off the place in the mapping, in bytes.
	Addr   uintptr
	Volume string
	Off    int64
	// Err is ErrRefused, ErrReadOnly, or ErrGone.
	Err error
}

func (e *AccessError) Error() string {
	return fmt.Sprintf("attach: access to %q at byte %d of its mapping: %v", e.Volume, e.Off, e.Err)
}

func (e *AccessError) Unwrap() error { return e.Err }

// Try runs f, and returns an *AccessError if f touches memory of a mapping that
// cannot be had: a store that was refused, or to a mapping for reading only, or
// anything after the server is gone. f ends there; the bytes before are stored,
// the one at Off is not, and a later attempt is asked afresh. Any other panic of f
// goes on.
//
// Outside of Try such an access ends the program, as it does with a mapped file.
// Only accesses by the goroutine that runs f are caught.
func Try(f func()) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			if err = accessError(p); err == nil {
				panic(p)
			}
		}
	}()
	f()
	return nil
}

// accessError is the error of a panic that an access to a mapping caused, or nil.
func accessError(p any) error {
	fault, ok := p.(interface {
		runtime.Error
		Addr() uintptr
	})
	if !ok {
		return nil
	}
	m := live.find(fault.Addr())
	if m == nil {
		return nil
	}
	e := &AccessError{Addr: fault.Addr(), Volume: m.volume, Off: int64(fault.Addr() - m.start()), Err: ErrRefused}
	page := e.Off &^ (cache.PageSize - 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.mu.cut, m.c.sock.hungUp():
		// The watcher may not have had a processor yet to cut the mapping off.
		e.Err = ErrGone
	case m.mu.closed:
		e.Err = ErrClosed
	case m.flags&ReadWrite == 0:
		// The runtime does not tell a store from a load.
		e.Err = ErrReadOnly
	}
	if errors.Is(e.Err, ErrRefused) {
		// The poison goes with the page, so that the next access asks.
		if err := unix.Madvise(m.mem[page:page+cache.PageSize], unix.MADV_DONTNEED); err != nil {
			return errors.Join(e, err)
		}
	}
	return e
}

// live has the mappings of this process, so that an address tells its mapping.
var live registry

type registry struct {
	mu  sync.Mutex
	all []*Mapping // guarded by mu
}

func (r *registry) add(m *Mapping) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, m)
}

func (r *registry) remove(m *Mapping) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = slices.DeleteFunc(r.all, func(a *Mapping) bool { return a == m })
}

func (r *registry) find(addr uintptr) *Mapping {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.all {
		if addr >= m.start() && addr-m.start() < uintptr(len(m.mem)) {
			return m
		}
	}
	return nil
}
