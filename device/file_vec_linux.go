package device

import (
	"io"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// iovMax is the most buffers that one system call takes (IOV_MAX).
const iovMax = 1024

// vectors holds arrays of iovMax, so that vectored calls do not allocate.
var vectors = sync.Pool{New: func() any { return new([iovMax]unix.Iovec) }}

// ReadVecAt fills bufs in turn from off on.
func (f *File) ReadVecAt(bufs [][]byte, off int64) (int, error) {
	total := vecLen(bufs)
	if err := f.begin("read", off, total); err != nil {
		return 0, err
	}
	defer f.gate.leave()
	f.alone.RLock()
	defer f.alone.RUnlock()
	var done int
	err := error(unix.EINVAL)
	if f.fitsVec(bufs, off) {
		done, err = moveVec(f.direct, unix.SYS_PREADV, bufs, off, 0)
	}
	if err == unix.EINVAL {
		done, err = moveVec(f.buffered, unix.SYS_PREADV, bufs, off, done)
	}
	return done, f.ended("read", off, int(total), err)
}

// WriteVecAt writes bufs in turn from off on.
func (f *File) WriteVecAt(bufs [][]byte, off int64) (int, error) {
	total := vecLen(bufs)
	if err := f.beginChange("write", off, total); err != nil {
		return 0, err
	}
	defer f.gate.leave()
	var done int
	err := error(unix.EINVAL)
	if f.fitsVec(bufs, off) {
		done, err = f.writeVecDirect(bufs, off)
	}
	if err == unix.EINVAL {
		done, err = f.writeVecBuffered(bufs, off, done)
	}
	return done, f.ended("write", off, int(total), err)
}

func (f *File) writeVecDirect(bufs [][]byte, off int64) (int, error) {
	f.alone.RLock()
	defer f.alone.RUnlock()
	return moveVec(f.direct, unix.SYS_PWRITEV, bufs, off, 0)
}

func (f *File) writeVecBuffered(bufs [][]byte, off int64, done int) (int, error) {
	f.alone.Lock()
	defer f.alone.Unlock()
	return moveVec(f.buffered, unix.SYS_PWRITEV, bufs, off, done)
}

// fitsVec says whether the whole transfer may go direct. Not every file system
// is content with an aligned sum: each buffer has to be aligned in full.
func (f *File) fitsVec(bufs [][]byte, off int64) bool {
	if f.direct == noFD {
		return false
	}
	for _, b := range bufs {
		if len(b) > 0 && !f.align.fits(&b[0], len(b), off) {
			return false
		}
		off += int64(len(b))
	}
	return true
}

// moveVec calls preadv or pwritev until everything has been transferred. The
// first done bytes have been already; the count returned includes them.
func moveVec(fd int, call uintptr, bufs [][]byte, off int64, done int) (int, error) {
	iov := vectors.Get().(*[iovMax]unix.Iovec)
	defer func() {
		clear(iov[:]) // or the pool keeps the caller's memory alive
		vectors.Put(iov)
	}()
	for {
		k := fillVec(iov, bufs, done)
		if k == 0 {
			return done, nil
		}
		n, _, errno := unix.Syscall6(call, uintptr(fd), uintptr(unsafe.Pointer(iov)),
			uintptr(k), uintptr(off+int64(done)), 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return done, errno
		case n == 0 && call == unix.SYS_PREADV:
			return done, io.ErrUnexpectedEOF
		case n == 0:
			return done, io.ErrShortWrite
		default:
			done += int(n)
		}
	}
}

// fillVec points iov at what follows the first skip bytes of bufs, as far as it
// holds them, and returns how many of its elements it used.
func fillVec(iov *[iovMax]unix.Iovec, bufs [][]byte, skip int) (k int) {
	for _, b := range bufs {
		if skip >= len(b) {
			skip -= len(b)
			continue
		}
		if k == iovMax {
			break
		}
		iov[k].Base = &b[skip]
		iov[k].SetLen(len(b) - skip)
		skip = 0
		k++
	}
	return k
}
