package cache

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"holdfast.dev/holdfast/internal/seam"
)

// arena is the memory of a mapping's frames: a sparse memfd as long as the
// mapping, mapped once. Frame n lies at n*PageSize, so neighbours in the volume
// are neighbours in memory. A frame exists from its first touch until punch.
// (The idea is vmcache's: Leis et al., SIGMOD 2023, on anonymous memory.)
//
// A touched frame costs memory, so nothing may look at the frame of a page that
// is not present.
type arena struct {
	fd  int
	mem []byte

	writers atomic.Int32 // how many are in write
	writing seam.Mutex   // held there
}

func newArena(name string, size int64) (*arena, error) {
	fd, err := unix.MemfdCreate("holdfast:"+name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cache: memory for %s: memfd_create: %w", name, err)
	}
	if err := unix.Ftruncate(fd, size); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cache: memory for %s: %d bytes: %w", name, size, err)
	}
	mem, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cache: memory for %s: map of %d bytes: %w", name, size, err)
	}
	return &arena{fd: fd, mem: mem}, nil
}

// frames returns the memory of count pages from n on.
func (a *arena) frames(n, count int64) []byte {
	return a.mem[n*PageSize : (n+count)*PageSize : (n+count)*PageSize]
}

const (
	// faultAround is how much the system maps at the first touch of memory that is
	// there already: 64 KiB, unless somebody has set it otherwise.
	faultAround = 16 * PageSize
	// readyMin is the shortest run, in pages, that is worth readying: the calls
	// cost as much as the faults of a few pages.
	readyMin = 8
	// writersMost is how many write to it at once: one, and a few who wait for
	// him. With more than that one processor is not enough, and they are faster by
	// touching for themselves.
	writersMost = 4
)

// blank is what frames are readied from.
var blank [faultAround]byte

// ready gives count frames from n on their memory, for somebody who is about to
// fill them. Touched one by one each costs a fault, 2.8 us; written as parts of a
// file and then mapped by the sixteen, 1.6. Where it does nothing, the touch does
// the same.
func (a *arena) ready(n, count int64) {
	if count < readyMin {
		return
	}
	for off, end := n*PageSize, (n+count)*PageSize; off < end; {
		k := min(faultAround-off%faultAround, end-off)
		if a.write(blank[:k], off) {
			// Read, not written to: a fault to write maps a single page.
			atomic.LoadUint32((*uint32)(unsafe.Pointer(&a.mem[off])))
		}
		off += k
	}
}

// fill fills frames from n on, that have no memory yet, with p, and does not touch
// them: that takes less than the faults, and so does punching what nobody has looked
// at since.
func (a *arena) fill(n int64, p []byte) {
	if !a.write(p, n*PageSize) {
		copy(a.mem[n*PageSize:], p)
	}
}

// write writes p to off as to a file, without touching the memory, and says whether it
// did. The system has one lock for writes to a file, and lets who waits for it spin:
// here he sleeps; or if too many do he is to touch it after all.
func (a *arena) write(p []byte, off int64) bool {
	defer a.writers.Add(-1)
	if a.writers.Add(1) > writersMost {
		return false
	}
	a.writing.Lock()
	defer a.writing.Unlock()
	n, err := unix.Pwrite(a.fd, p, off)
	return err == nil && n == len(p)
}

// punch gives the frames of count pages from n on back to the system.
func (a *arena) punch(n, count int64) {
	err := unix.Fallocate(a.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, n*PageSize, count*PageSize)
	for err == unix.EINTR {
		err = unix.Fallocate(a.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, n*PageSize, count*PageSize)
	}
	if err != nil {
		// A memfd always supports this; a failure leaves stale bytes in frames
		// that count as absent, which every install overwrites or zeroes.
		clear(a.frames(n, count))
	}
}

// hold has a pipe hold on to the memory of count pages from n on, and says whether
// it does.
func (a *arena) hold(pipe int, n, count int64) bool {
	off, left := n*PageSize, count*PageSize
	for left > 0 {
		got, err := unix.Splice(a.fd, &off, pipe, nil, int(left), unix.SPLICE_F_NONBLOCK)
		if err == unix.EINTR {
			continue
		}
		if err != nil || got <= 0 {
			return false
		}
		left -= got
	}
	return true
}

// hasData says whether any of count pages from n on has memory.
func (a *arena) hasData(n, count int64) bool {
	at, err := unix.Seek(a.fd, n*PageSize, unix.SEEK_DATA)
	return err == nil && at < (n+count)*PageSize
}

// close makes the memory fail wherever it is still mapped: in a process that was
// attached and has not noticed yet that nobody serves it.
func (a *arena) close() error {
	err := unix.Munmap(a.mem)
	if terr := unix.Ftruncate(a.fd, 0); err == nil {
		err = terr
	}
	if cerr := unix.Close(a.fd); err == nil {
		err = cerr
	}
	return err
}
