package device

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// alignment is what direct I/O asks of a request: each value is a power of two.
type alignment struct {
	addr uintptr // of the memory
	off  int64   // of offset and length
}

// openDirect opens the second, direct descriptor. A file system that does not
// allow O_DIRECT is no error: everything then goes through the page cache.
func (f *File) openDirect(flags int) error {
	fd, err := f.openFD(flags | unix.O_DIRECT)
	if err != nil {
		return nil
	}
	f.direct = fd
	same, err := sameFile(f.buffered, f.direct)
	if err != nil {
		return fileError(err)
	}
	if !same {
		return fmt.Errorf("%w: it was replaced while it was opened", ErrIO)
	}
	var ok bool
	if f.align, ok = findAlignment(f.direct); !ok {
		unix.Close(f.direct)
		f.direct = noFD
	}
	return nil
}

// sameFile guards against a path that came to name another file between two
// opens.
func sameFile(a, b int) (bool, error) {
	var sa, sb unix.Stat_t
	if err := unix.Fstat(a, &sa); err != nil {
		return false, err
	}
	if err := unix.Fstat(b, &sb); err != nil {
		return false, err
	}
	return sa.Dev == sb.Dev && sa.Ino == sb.Ino, nil
}

// findAlignment asks the kernel, or where it does not know, tries.
func findAlignment(fd int) (a alignment, ok bool) {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_DIOALIGN, &st)
	if err != nil || st.Mask&unix.STATX_DIOALIGN == 0 {
		return probeAlignment(fd)
	}
	// Zeros say that this file cannot be read or written directly.
	return alignment{uintptr(st.Dio_mem_align), int64(st.Dio_offset_align)},
		st.Dio_mem_align > 0 && st.Dio_offset_align > 0
}

// probeAlignment reads with each of the alignments that devices have until one
// is not refused. The memory lies at an odd multiple of it, so that a larger
// one cannot pass for it.
func probeAlignment(fd int) (a alignment, ok bool) {
	buf := Aligned(2 * DirectAlign)
	for _, n := range []int{SectorSize, DirectAlign} {
		_, err := pread(fd, buf[n:n+n], 0)
		if err == nil {
			return alignment{uintptr(n), int64(n)}, true
		}
	}
	return alignment{}, false
}

// fits says whether a transfer may go through the direct descriptor.
func (f *File) fits(p []byte, off int64) bool {
	return f.direct != noFD && len(p) > 0 && f.align.fits(&p[0], len(p), off)
}

// fits says whether memory at p of length n may go to or come from off.
func (a alignment) fits(p *byte, n int, off int64) bool {
	return uintptr(unsafe.Pointer(p))&(a.addr-1) == 0 && (off|int64(n))&(a.off-1) == 0
}

func pread(fd int, p []byte, off int64) (n int, err error) {
	for {
		if n, err = unix.Pread(fd, p, off); err != unix.EINTR {
			return n, err
		}
	}
}

func pwrite(fd int, p []byte, off int64) (n int, err error) {
	for {
		if n, err = unix.Pwrite(fd, p, off); err != unix.EINTR {
			return n, err
		}
	}
}
