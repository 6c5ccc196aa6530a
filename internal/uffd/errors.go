package uffd

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

var (
	// ErrUnsupported says that this kernel lacks what is needed, or forbids it.
	ErrUnsupported = errors.New("userfaultfd is not available here")

	// ErrNotUserfaultfd says that a descriptor is no userfaultfd, or not one as
	// Create makes them.
	ErrNotUserfaultfd = errors.New("not a userfaultfd that can be served")

	// ErrNotPagemap says that a descriptor is not the page map of the process whose
	// userfaultfd came with it.
	ErrNotPagemap = errors.New("not the page map of the process that is served")

	// ErrGone says that the process whose faults were served has ended.
	ErrGone = errors.New("the address space is gone")

	// ErrNotRegistered says that some of a range is not, or not any more, a
	// registered shared mapping of a memfd: the client unmapped it, or mapped
	// something else there.
	ErrNotRegistered = errors.New("the range is not registered")

	// ErrNoPage says that the memfd has no page there to be mapped.
	ErrNoPage = errors.New("the file has no page there")

	// ErrMapped says that a page is mapped and so cannot be poisoned.
	ErrMapped = errors.New("the page is mapped")

	// ErrBusy says that the kernel asked to try again more often than is
	// reasonable.
	ErrBusy = errors.New("the address space keeps changing")
)

// rangeError tells what an operation on [addr, addr+n) came to.
func rangeError(what string, addr uintptr, n int, errno unix.Errno) error {
	var sentinel error
	switch errno {
	case unix.ESRCH:
		sentinel = ErrGone
	case unix.ENOENT, unix.EINVAL:
		sentinel = ErrNotRegistered
	case unix.EFAULT:
		sentinel = ErrNoPage
	case unix.EEXIST:
		sentinel = ErrMapped
	case unix.EAGAIN, unix.EINTR:
		sentinel = ErrBusy
	default:
		return fmt.Errorf("userfaultfd: %s %d bytes at %#x: %w", what, n, addr, errno)
	}
	return fmt.Errorf("userfaultfd: %s %d bytes at %#x: %w (%w)", what, n, addr, sentinel, errno)
}
