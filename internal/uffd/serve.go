package uffd

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pageSize is that of the machine: the smallest unit that is mapped.
var pageSize = os.Getpagesize()

// Continue maps the pages that the memfd has in [addr, addr+n), write-protected
// if protect, and wakes who waits for them. A page that is mapped already stays
// as it is: a store that still lacks access faults again.
//
// done is how many bytes from addr on are mapped. Less than n only with an
// error: ErrNoPage at a hole of the file.
func (f *FD) Continue(addr uintptr, n int, protect bool) (done int, err error) {
	if !f.enter() {
		return 0, closedError("map")
	}
	defer f.leave()
	var mode uint64
	if protect {
		mode = continueProtected
	}
	passed := false
	for done < n {
		mapped, errno := f.fill(ioContinue, addr+uintptr(done), n-done, mode)
		done += mapped
		if errno == unix.EEXIST {
			passed = true
			done += pageSize
			continue
		}
		if errno != 0 {
			err = rangeError("map", addr+uintptr(done), n-done, errno)
			break
		}
	}
	if passed {
		// Who waits for a page that was mapped in the meantime is woken by nobody
		// else.
		if errno := f.wake(addr, done); errno != 0 && err == nil {
			err = rangeError("wake", addr, n, errno)
		}
	}
	return done, err
}

// Poison makes every access to [addr, addr+n) a SIGBUS, and wakes who waits
// there, to receive it. It stops with ErrMapped at the first page that is mapped,
// or carries the mark of its protection, which outlives the page (PoisonHole),
// or is poisoned already. Pages before that one are poisoned.
//
// A page stays poisoned until Continue maps it, or its process drops it
// (MADV_DONTNEED). Punching the memfd does not help.
func (f *FD) Poison(addr uintptr, n int) error {
	if !f.enter() {
		return closedError("poison")
	}
	defer f.leave()
	for done := 0; done < n; {
		poisoned, errno := f.fill(ioPoison, addr+uintptr(done), n-done, 0)
		done += poisoned
		if errno != 0 {
			return rangeError("poison", addr+uintptr(done), n-done, errno)
		}
	}
	return nil
}

// PoisonHole is Poison for a range in which the memfd has no page, and gets none
// until it returns: with a page there a store could go through unasked. What is
// poisoned already stays so. This is also how a store to a page that is mapped
// is refused: punch the page, poison the hole, put the page back, all while
// nobody else may use it.
func (f *FD) PoisonHole(addr uintptr, n int) error {
	if !f.enter() {
		return closedError("poison")
	}
	defer f.leave()
	// The kernel does not put poison over the mark that a protected page leaves
	// when it is punched. In a hole, taking the protection away removes just that.
	if err := f.protect("poison", addr, n, writeProtectSilent); err != nil {
		return err
	}
	for done := 0; done < n; {
		poisoned, errno := f.fill(ioPoison, addr+uintptr(done), n-done, 0)
		done += poisoned
		if errno == unix.EEXIST {
			done += pageSize
		} else if errno != 0 {
			return rangeError("poison", addr+uintptr(done), n-done, errno)
		}
	}
	// Who faulted before a page was poisoned by another may still wait there.
	if errno := f.wake(addr, n); errno != 0 {
		return rangeError("wake", addr, n, errno)
	}
	return nil
}

// fill does an operation that may stop before the end of its range, once, or
// more often where the kernel asks for it. It returns progress or an error.
func (f *FD) fill(request uintptr, addr uintptr, n int, mode uint64) (done int, errno unix.Errno) {
	for try := 0; ; try++ {
		arg := fillArg{rangeArg: rangeArg{uint64(addr), uint64(n)}, mode: mode}
		errno = ioctl(f.fd, request, unsafe.Pointer(&arg))
		if errno == 0 {
			return n, 0
		}
		if arg.done > 0 && arg.done <= int64(n) {
			return int(arg.done), 0
		}
		if errno != unix.EAGAIN && errno != unix.EINTR || !again(try) {
			return 0, errno
		}
	}
}

// Protect takes write access to [addr, addr+n) away, also from pages that are
// not mapped yet and would be by another process's doing. When it returns no
// store with the old access can happen any more.
func (f *FD) Protect(addr uintptr, n int) error {
	if !f.enter() {
		return closedError("protect")
	}
	defer f.leave()
	return f.protect("protect", addr, n, writeProtectOn)
}

// Unprotect gives write access to the pages of [addr, addr+n) that are mapped,
// and wakes who waits for it.
func (f *FD) Unprotect(addr uintptr, n int) error {
	if !f.enter() {
		return closedError("unprotect")
	}
	defer f.leave()
	return f.protect("unprotect", addr, n, 0)
}

// protect requires that f was entered.
func (f *FD) protect(what string, addr uintptr, n int, mode uint64) error {
	for try := 0; ; try++ {
		arg := protectArg{rangeArg: rangeArg{uint64(addr), uint64(n)}, mode: mode}
		errno := ioctl(f.fd, ioWriteProtect, unsafe.Pointer(&arg))
		if errno == 0 {
			return nil
		}
		if errno != unix.EAGAIN && errno != unix.EINTR || !again(try) {
			return rangeError(what, addr, n, errno)
		}
	}
}

// Wake lets who waits in [addr, addr+n) try again, without anything having been
// done for them.
func (f *FD) Wake(addr uintptr, n int) error {
	if !f.enter() {
		return closedError("wake")
	}
	defer f.leave()
	if errno := f.wake(addr, n); errno != 0 {
		return rangeError("wake", addr, n, errno)
	}
	return nil
}

// wake requires that f was entered.
func (f *FD) wake(addr uintptr, n int) unix.Errno { return wake(f.fd, addr, n) }

func wake(fd int, addr uintptr, n int) unix.Errno {
	arg := rangeArg{uint64(addr), uint64(n)}
	return ioctl(fd, ioWake, unsafe.Pointer(&arg))
}

// Wake is FD.Wake for a process that has a copy of the descriptor and does
// nothing else with it: one that Adopt takes over is waited on for faults.
func Wake(fd int, addr uintptr, n int) error {
	if errno := wake(fd, addr, n); errno != 0 {
		return rangeError("wake", addr, n, errno)
	}
	return nil
}
