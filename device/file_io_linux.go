package device

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// ReadAt reads len(p) bytes at off.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if err := f.begin("read", off, int64(len(p))); err != nil {
		return 0, err
	}
	defer f.gate.leave()
	done, err := f.read(p, off)
	return done, f.ended("read", off, len(p), err)
}

// read is ReadAt for a call that was let in, with the error as it came.
func (f *File) read(p []byte, off int64) (done int, err error) {
	f.alone.RLock()
	defer f.alone.RUnlock()
	err = unix.EINVAL
	if f.fits(p, off) {
		done, err = readAll(f.direct, p, off)
	}
	if err == unix.EINVAL {
		var n int
		n, err = readAll(f.buffered, p[done:], off+int64(done))
		done += n
	}
	return done, err
}

// WriteAt writes p at off.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	if err := f.beginChange("write", off, int64(len(p))); err != nil {
		return 0, err
	}
	defer f.gate.leave()
	done, err := f.write(p, off)
	return done, f.ended("write", off, len(p), err)
}

// write is WriteAt for a call that was let in, with the error as it came.
func (f *File) write(p []byte, off int64) (done int, err error) {
	err = unix.EINVAL
	if f.fits(p, off) {
		done, err = f.writeDirect(p, off)
	}
	if err == unix.EINVAL {
		var n int
		n, err = f.writeBuffered(p[done:], off+int64(done))
		done += n
	}
	return done, err
}

func (f *File) writeDirect(p []byte, off int64) (int, error) {
	f.alone.RLock()
	defer f.alone.RUnlock()
	return writeAll(f.direct, p, off)
}

func (f *File) writeBuffered(p []byte, off int64) (int, error) {
	f.alone.Lock()
	defer f.alone.Unlock()
	return writeAll(f.buffered, p, off)
}

// readAll goes on after short reads. EINVAL from the direct descriptor, met
// where a short transfer ended off the alignment or the file system asks for
// more than it says, sends the rest through the page cache.
func readAll(fd int, p []byte, off int64) (done int, err error) {
	for done < len(p) {
		n, err := pread(fd, p[done:], off+int64(done))
		if err != nil {
			return done, err
		}
		if n == 0 {
			return done, io.ErrUnexpectedEOF
		}
		done += n
	}
	return done, nil
}

// writeAll is readAll for writes.
func writeAll(fd int, p []byte, off int64) (done int, err error) {
	for done < len(p) {
		n, err := pwrite(fd, p[done:], off+int64(done))
		if err != nil {
			return done, err
		}
		if n == 0 {
			return done, io.ErrShortWrite
		}
		done += n
	}
	return done, nil
}

// ended puts the end of a transfer into the device's words.
func (f *File) ended(op string, off int64, n int, err error) error {
	switch err {
	case nil:
		return nil
	case io.ErrUnexpectedEOF:
		err = fmt.Errorf("%w: the file is shorter than the %d bytes it had when it was opened", ErrIO, f.size)
	default:
		err = fileError(err)
	}
	return f.fail(op, off, int64(n), err)
}

// Flush makes durable what was written through either descriptor: both lead to
// one inode, and its fdatasync writes back what is dirty and then flushes the
// cache of the disk beneath. For what a failure means, see File.
func (f *File) Flush() error {
	if err := f.begin("flush", 0, 0); err != nil {
		return err
	}
	defer f.gate.leave()
	// Always the same descriptor: the kernel tells a write-back error once to
	// each, and it must neither be missed nor be told twice.
	err := retry(func() error { return unix.Fdatasync(f.buffered) })
	if err != nil {
		return f.fail("flush", 0, 0, fileError(err))
	}
	return nil
}
