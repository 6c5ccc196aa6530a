package uffd

import (
	"os"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FD is a userfaultfd: in the process that faults the one that it registers its
// memory with, in the process that serves a copy of that descriptor. All its
// methods may be called at the same time.
type FD struct {
	fd           int
	pagemap      int // of the process that faults, in the mode Async where it is served; or -1
	features     uint64
	kernelFaults bool
	faults       *reader // nil where the FD was created: that process must not serve

	// users counts the calls under way, and holds closing once Close was called.
	// The descriptor is closed by the last user, so its number is never used
	// after it may mean something else, and Close waits for nobody.
	users atomic.Int64
}

// closing is above any number of calls under way.
const closing = 1 << 32

// Features returns the features agreed with the kernel, UFFD_FEATURE_*.
func (f *FD) Features() uint64 { return f.features }

// Fd returns the descriptor, which stays f's: to be sent to the process that
// serves.
func (f *FD) Fd() int { return f.fd }

// KernelFaults says whether faults of the kernel, in a system call that was
// given this memory, are served too. Without them such a call fails with EFAULT
// unless the page is mapped already. It is known where f was created.
func (f *FD) KernelFaults() bool { return f.kernelFaults }

// Close gives the descriptor back and makes ReadFaults return. Once its last
// copy is closed, in any process, the kernel answers the faults of the range by
// itself, and those that wait.
func (f *FD) Close() error {
	for {
		users := f.users.Load()
		if users >= closing {
			return os.ErrClosed
		}
		if !f.users.CompareAndSwap(users, users|closing) {
			continue
		}
		if users == 0 {
			return f.destroy()
		}
		if f.faults != nil {
			// An error would say that the last user was quicker.
			_ = f.faults.file.SetReadDeadline(time.Unix(1, 0))
		}
		return nil
	}
}

// enter keeps the descriptor open until leave, if it is open.
func (f *FD) enter() bool {
	for {
		users := f.users.Load()
		if users >= closing {
			return false
		}
		if f.users.CompareAndSwap(users, users+1) {
			return true
		}
	}
}

func (f *FD) leave() {
	if f.users.Add(-1) == closing {
		// Closing a userfaultfd does not fail, and there is nobody to tell.
		_ = f.destroy()
	}
}

func (f *FD) destroy() error {
	if f.pagemap >= 0 {
		// What is only read from has nothing that closing could fail to write.
		_ = unix.Close(f.pagemap)
	}
	if f.faults != nil {
		return f.faults.file.Close()
	}
	return unix.Close(f.fd)
}

// triesMost bounds how often an operation is repeated that makes no progress.
// The kernel asks for it while page tables under the range are being changed,
// which is a matter of microseconds; a client that keeps it up is not waited
// for.
const triesMost = 200

// again waits before the given try, from 0, and says whether there is one.
func again(try int) bool {
	if try < triesMost/2 {
		runtime.Gosched()
	} else {
		time.Sleep(100 * time.Microsecond)
	}
	return try < triesMost
}

// ioctl does one operation; the caller has entered.
func ioctl(fd int, request uintptr, arg unsafe.Pointer) unix.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
	return errno
}
