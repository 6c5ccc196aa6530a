// Package aio reads or writes many parts of files at once, in two system calls: one
// that hands them to the kernel, and one that waits for all of them. It is a thin
// layer over the kernel's asynchronous I/O, io_submit(2).
//
// # Invariants
//
//  1. When Run has returned the kernel has nothing any more: neither memory nor
//     descriptors of what was added.
//  2. The kernel has room for all that a queue holds, so it never refuses an
//     answer for want of room.
//  3. A process that is killed does not end before what it gave to the kernel is
//     done: exit_aio in the kernel's mmput waits for it. Even where somebody else
//     has hold of the process's memory at that moment, so that it ends without,
//     what is written to stays open, and keeps the locks that were taken through
//     the descriptor given to Add.
//
// # Why not io_uring
//
// It is as fast (docs/measured.md), but (3) is not true of it: the kernel goes on
// with the writes of a process that was killed after it has closed its files.
// Somebody else then gets the lock of a file that is still being written to.
//
// # What blocks
//
// Run may block as long as read(2) or write(2) would, and not only while it waits:
// some file systems do not return from io_submit before they got a lock, or have read
// or written metadata. The gain is then less.
//
// # Sources
//
// io_setup(2), io_submit(2), io_getevents(2), io_destroy(2), <linux/aio_abi.h>.
package aio

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrUnavailable says that the kernel has no asynchronous I/O, that it is
// forbidden to this process, or that the system has given out all of it
// (fs.aio-max-nr).
var ErrUnavailable = errors.New("asynchronous I/O is not available")

// Op is what a queue is to do with a part.
type Op uint16

const (
	// Read is the kernel's IOCB_CMD_PREAD.
	Read Op = 0
	// Write is the kernel's IOCB_CMD_PWRITE.
	Write Op = 1
)

// iocb is the kernel's struct of that name.
type iocb struct {
	data uint64
	_    [2]uint32 // aio_key, aio_rw_flags
	op   Op
	_    int16 // aio_reqprio
	fd   uint32
	buf  unsafe.Pointer // keeps the memory alive while the kernel has it
	n    uint64
	off  int64
	_    uint64
	_    [2]uint32 // aio_flags, aio_resfd
}

// event is the kernel's struct io_event.
type event struct {
	data uint64
	_    uint64 // the iocb
	res  int64
	_    int64
}

// Queue holds transfers that are done together. One goroutine uses it at a time.
type Queue struct {
	id      uintptr // the kernel's aio_context_t
	n       int     // how many transfers there are
	blocks  []iocb
	places  []*iocb // of the blocks, as io_submit wants them
	events  []event
	results []int64 // bytes, or an error's number, negative
}

// New makes a queue for so many transfers.
func New(size int) (*Queue, error) {
	q := &Queue{}
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, uintptr(size), uintptr(unsafe.Pointer(&q.id)), 0); errno != 0 {
		return nil, fmt.Errorf("%w: io_setup: %w", ErrUnavailable, errno)
	}
	q.blocks, q.places = make([]iocb, size), make([]*iocb, size)
	q.events, q.results = make([]event, size), make([]int64, size)
	for i := range q.blocks {
		q.places[i] = &q.blocks[i]
	}
	// A filter that lets the one call pass and not the others shows itself before
	// the kernel has anything.
	_, errno := q.submit(0, 0)
	if errno == 0 {
		_, errno = q.wait(0)
	}
	if errno != 0 {
		q.Close()
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, errno)
	}
	return q, nil
}

// Close gives the queue back to the kernel.
func (q *Queue) Close() { _, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, q.id, 0, 0) }

// Add adds a transfer from or to p, which must not be empty, nor used by anybody else
// until Run returns. The queue must have room.
func (q *Queue) Add(op Op, fd int, p []byte, off int64) {
	q.blocks[q.n] = iocb{data: uint64(q.n), op: op, fd: uint32(fd), buf: unsafe.Pointer(&p[0]), n: uint64(len(p)), off: off}
	q.n++
}

// Run does what was added and forgets it. It returns when each has a result.
func (q *Queue) Run() {
	given := 0
	for i := 0; i < q.n; {
		k, errno := q.submit(i, q.n)
		if errno != 0 {
			// It is the next one that the kernel does not take.
			q.results[i] = -int64(errno)
			i++
			continue
		}
		i += k
		given += k
	}
	for given > 0 {
		given -= q.collect(given)
	}
	clear(q.blocks[:q.n])
	q.n = 0
}

// collect waits for so many results, and returns how many it got: less if a
// signal came.
func (q *Queue) collect(given int) int {
	k, errno := q.wait(given)
	switch errno {
	case 0:
	case unix.EINTR:
		return 0
	default:
		// It worked when the queue was made. To return would lend the caller's
		// memory to the kernel for good.
		panic(fmt.Sprintf("aio: the kernel has transfers and does not tell of them: %v", errno))
	}
	for _, e := range q.events[:k] {
		q.results[e.data] = e.res
	}
	return k
}

// Result returns how many bytes of the i-th transfer that was added last were
// transferred, or an error.
func (q *Queue) Result(i int) (n int, err error) {
	if res := q.results[i]; res < 0 {
		return 0, unix.Errno(-res)
	}
	return int(q.results[i]), nil
}

// submit hands the transfers [from, to) to the kernel, which takes the first of
// them, as many as it says, or none and says why.
func (q *Queue) submit(from, to int) (n int, errno unix.Errno) {
	r, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, q.id, uintptr(to-from), uintptr(unsafe.Pointer(&q.places[from])))
	runtime.KeepAlive(q)
	return int(r), errno
}

// wait waits for n results.
func (q *Queue) wait(n int) (got int, errno unix.Errno) {
	r, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, q.id, uintptr(n), uintptr(n), uintptr(unsafe.Pointer(&q.events[0])), 0, 0)
	runtime.KeepAlive(q)
	return int(r), errno
}
