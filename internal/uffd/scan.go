package uffd

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pagemapPath is where a process finds its own page map.
const pagemapPath = "/proc/self/pagemap"

// OpenPagemap opens the page map of this process, to be sent with a userfaultfd
// of the mode Async.
func OpenPagemap() (*os.File, error) { return os.Open(pagemapPath) }

// AdoptAsync is Adopt in the mode Async. pagemap is the page map of the process
// that sent both, for which Probe has to be asked. What is anything else is
// refused with ErrNotPagemap. After an error both descriptors are still the
// caller's, otherwise they are closed.
func AdoptAsync(fd, pagemap int) (*FD, error) {
	if err := inspectPagemap(pagemap); err != nil {
		return nil, err
	}
	f, err := adopt(fd, Async)
	if err == nil {
		f.pagemap = pagemap
	}
	return f, err
}

// inspectPagemap looks at what /proc says of a descriptor.
func inspectPagemap(fd int) error {
	var fs unix.Statfs_t
	name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err == nil {
		err = unix.Fstatfs(fd, &fs)
	}
	if err != nil {
		return fmt.Errorf("%w: descriptor %d: %w", ErrNotPagemap, fd, err)
	}
	if fs.Type != unix.PROC_SUPER_MAGIC || !strings.HasSuffix(name, "/pagemap") {
		return fmt.Errorf("%w: descriptor %d is %q", ErrNotPagemap, fd, name)
	}
	return nil
}

// Probe finds out whether the page map shows what the userfaultfd does to the page
// at addr: then both are of one process. It leaves the page unprotected.
func (f *FD) Probe(addr uintptr) error {
	if !f.enter() {
		return closedError("probe")
	}
	defer f.leave()
	for _, mode := range []uint64{writeProtectOn, 0} {
		if err := f.protect("probe", addr, pageSize, mode); err != nil {
			return err
		}
		var one [1]Region
		found, _, err := f.scan(addr, pageSize, scanMode, one[:])
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNotPagemap, err)
		}
		if found[0].Stored() != (mode == 0) {
			return fmt.Errorf("%w: it does not show what the userfaultfd changes", ErrNotPagemap)
		}
	}
	return nil
}

// Region is a run of pages that a scan found alike: struct page_region.
type Region struct {
	Start, End uint64
	categories uint64
}

// Stored says whether the pages may have been stored to since they were last
// protected: they are not protected, or are not there, as after a store to a page
// that the kernel or the process took out afterwards. Newer kernels report the
// latter as written themselves.
func (r *Region) Stored() bool {
	return r.categories&pageWritten != 0 || r.bare()
}

// bare says whether there is neither a page nor a mark of its protection.
func (r *Region) bare() bool { return r.categories&(pageWritten|pagePresent|pageSwapped) == 0 }

// Stored protects the pages of [addr, addr+n), as far as regions has room for what
// there is to be told of them, and tells which were stored to before: regions
// without a gap from addr on, and how many bytes they are. What happened before it
// began is told; a store that happens meanwhile is told now or the next time.
//
// If some of the range is not there, or not watched in the mode Async, it returns
// ErrNotRegistered; if the process has ended, ErrGone.
func (f *FD) Stored(addr uintptr, n int, regions []Region) (found []Region, done int, err error) {
	if !f.enter() {
		return nil, 0, closedError("scan")
	}
	defer f.leave()
	found, end, err := f.scan(addr, n, scanMode|scanProtect, regions)
	if errors.Is(err, ErrNotRegistered) {
		// On some kernels the page map of a process that has ended is merely empty.
		if gone := f.protect("scan", addr, n, writeProtectOn); errors.Is(gone, ErrGone) {
			err = gone
		}
	}
	if err != nil {
		return nil, 0, err
	}
	for i := range found {
		if r := &found[i]; r.bare() {
			// Older kernels pass such pages over. Who serves maps none meanwhile.
			if err := f.protect("scan", uintptr(r.Start), int(r.End-r.Start), writeProtectOn); err != nil {
				return nil, 0, err
			}
		}
	}
	return found, int(end - addr), nil
}

// scan does one scan, and checks that it has no gap.
func (f *FD) scan(addr uintptr, n int, flags uint64, regions []Region) (found []Region, end uintptr, err error) {
	if f.pagemap < 0 {
		return nil, 0, fmt.Errorf("%w: a scan needs the mode Async", ErrUnsupported)
	}
	arg := scanArg{
		size: uint64(unsafe.Sizeof(scanArg{})), flags: flags,
		start: uint64(addr), end: uint64(addr) + uint64(n),
		regions: unsafe.SliceData(regions), most: uint64(len(regions)),
		returned: pageWritten | pagePresent | pageSwapped,
	}
	got, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(f.pagemap), ioScan, uintptr(unsafe.Pointer(&arg)))
	switch errno {
	case 0:
	case unix.EPERM:
		return nil, 0, rangeError("scan", addr, n, unix.ENOENT)
	default:
		return nil, 0, rangeError("scan", addr, n, errno)
	}
	found = regions[:got]
	at := arg.start
	for i := range found {
		if found[i].Start != at {
			return nil, 0, rangeError("scan", addr, n, unix.ENOENT)
		}
		at = found[i].End
	}
	if at == arg.start || at < arg.end && len(found) < len(regions) {
		return nil, 0, rangeError("scan", addr, n, unix.ENOENT)
	}
	return found, uintptr(at), nil
}
