package device

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// File is a device in a regular file or on a block device.
//
// # Two descriptors
//
// Where the file system allows O_DIRECT, a File has the file open twice. A
// request whose address, offset and length all suit the alignment goes through
// the direct descriptor, past the page cache; any other goes through the
// buffered one, so that nothing is ever copied for the sake of alignment. The
// kernel keeps the two coherent as long as they take turns: before direct I/O it
// writes the range's dirty pages back and waits, and after a direct write it
// drops the pages it may have made stale.
//
// It does not while they overlap in time: a buffered write brings in, changes
// and later writes back a whole page, and may so undo a direct write to another
// sector of it. A file system excludes the two by its inode lock; a block device
// has none. Nor does every file system keep a buffered read from seeing half of
// a sector that is being written. Hence alone, below.
//
// # Invariants
//
//  1. A buffered write overlaps no other transfer in time. All else runs side by
//     side: reads, direct writes, zeroings and flushes wait for nobody but a
//     buffered write.
//  2. A descriptor is closed only when no call uses it, and none can begin to.
//
// Lock order: gate, then alone. The lock of queues is held beside none.
//
// # What a failed Flush means
//
// When fdatasync fails, the kernel has dropped the dirty pages that it could not
// write, or has marked them clean, and tells so once. So the failure is returned
// from the call that met it, and a later Flush that succeeds says nothing about
// what was written before: that has to be written again.
type File struct {
	name     string
	size     int64
	block    int64 // fallocate takes multiples of this: 1 for regular files
	readOnly bool
	align    alignment // of the direct descriptor

	gate     gate
	alone    sync.RWMutex // held exclusively by buffered writes, shared by other transfers
	buffered int
	direct   int // noFD if the file system does not allow it
	queues   queues
}

// noFD is in the place of a descriptor that is not open.
const noFD = -1

// FileOptions say how OpenFile opens a file. The zero value is for a leg.
type FileOptions struct {
	// Buffered sends every request through the page cache.
	Buffered bool
	// ReadOnly refuses writes, and lets others open the file ReadOnly as well.
	ReadOnly bool
}

// OpenFile opens the regular file or block device at path. It refuses with
// ErrBusy what another File, of this process or another, has open, unless both
// are ReadOnly.
func OpenFile(path string, o FileOptions) (*File, error) {
	f := &File{
		name: path, readOnly: o.ReadOnly, gate: newGate(),
		buffered: noFD, direct: noFD,
	}
	err := f.open(o)
	if err != nil {
		f.closeAll()
		return nil, &OpError{Op: "open", Name: path, Err: err}
	}
	return f, nil
}

func (f *File) open(o FileOptions) error {
	mode, err := f.kind()
	if err != nil {
		return err
	}
	flags := unix.O_RDWR
	if o.ReadOnly {
		flags = unix.O_RDONLY
	}
	excl := 0
	if mode == unix.S_IFBLK {
		excl = unix.O_EXCL // refuses a device that is mounted, or part of an array
	}
	if f.buffered, err = f.openFD(flags | excl); err != nil {
		return err
	}
	if !o.Buffered {
		if err := f.openDirect(flags); err != nil {
			return err
		}
	}
	if err := f.lock(); err != nil {
		return err
	}
	return f.measure(mode)
}

// kind returns the type bits of what is at the path, if it can be a device.
func (f *File) kind() (mode uint32, err error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Stat(f.name, &st) }); err != nil {
		return 0, fileError(err)
	}
	mode = st.Mode & unix.S_IFMT
	if mode != unix.S_IFREG && mode != unix.S_IFBLK {
		return 0, fmt.Errorf("%w: neither a regular file nor a block device", ErrIO)
	}
	return mode, nil
}

func (f *File) openFD(flags int) (fd int, err error) {
	err = retry(func() (err error) {
		fd, err = unix.Open(f.name, flags|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return noFD, fileError(err)
	}
	return fd, nil
}

// lock takes the lock that keeps a second server, or a check of a pool that is
// being served, away. It is the direct descriptor's, if there is one: what is
// written together goes through that, and the kernel keeps it open, and so the
// lock, until it is done, even if this process is killed before.
func (f *File) lock() error {
	fd := f.direct
	if fd == noFD {
		fd = f.buffered
	}
	how := unix.LOCK_EX
	if f.readOnly {
		how = unix.LOCK_SH
	}
	err := retry(func() error { return unix.Flock(fd, how|unix.LOCK_NB) })
	if err == unix.EWOULDBLOCK {
		return fmt.Errorf("%w, which holds its lock: stop that program first", ErrBusy)
	}
	return fileError(err)
}

// measure finds the size, and the unit in which space is given back.
func (f *File) measure(mode uint32) error {
	var st unix.Stat_t
	if err := unix.Fstat(f.buffered, &st); err != nil {
		return fileError(err)
	}
	if st.Mode&unix.S_IFMT != mode {
		return fmt.Errorf("%w: it was replaced while it was opened", ErrIO)
	}
	// Where a block device's stat has no size, its end tells.
	size, err := unix.Seek(f.buffered, 0, unix.SEEK_END)
	if err != nil {
		return fileError(err)
	}
	f.size, f.block = size, 1
	if mode == unix.S_IFBLK {
		n, err := unix.IoctlGetInt(f.buffered, unix.BLKSSZGET)
		if err != nil {
			return fileError(err)
		}
		f.block = int64(n)
	}
	return nil
}

// Size is the size that the file had when it was opened.
func (f *File) Size() int64 { return f.size }

// Close waits for the calls in flight, then closes the file and gives up its
// lock. It does not flush.
func (f *File) Close() error {
	if err := f.gate.shut(); err != nil {
		return f.fail("close", 0, 0, err)
	}
	if err := f.closeAll(); err != nil {
		return f.fail("close", 0, 0, fileError(err))
	}
	return nil
}

// closeAll closes what is open. It does not retry: Linux frees a descriptor's
// number even when close fails.
func (f *File) closeAll() error {
	f.queues.close()
	var first error
	for _, fd := range []int{f.direct, f.buffered} {
		if fd == noFD {
			continue
		}
		if err := unix.Close(fd); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// begin checks a call and lets it in. Each success is followed by gate.leave.
func (f *File) begin(op string, off, n int64) error {
	if err := CheckRange(f.size, off, n); err != nil {
		return f.fail(op, off, n, err)
	}
	if err := f.gate.enter(); err != nil {
		return f.fail(op, off, n, err)
	}
	return nil
}

// beginChange is begin for a call that changes the file.
func (f *File) beginChange(op string, off, n int64) error {
	if f.readOnly {
		return f.fail(op, off, n, ErrReadOnly)
	}
	return f.begin(op, off, n)
}

func (f *File) fail(op string, off, n int64, err error) error {
	return &OpError{Op: op, Name: f.name, Off: off, Len: n, Err: err}
}

// fileError puts the sentinel that fits before a system call's error.
func fileError(err error) error {
	switch err {
	case nil:
		return nil
	case unix.ENOSPC, unix.EDQUOT:
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	case unix.EBUSY:
		return fmt.Errorf("%w: %w: is it mounted, or part of an array?", ErrBusy, err)
	default:
		return fmt.Errorf("%w: %w", ErrIO, err)
	}
}

// retry repeats a system call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
