package cache

import (
	"fmt"

	"golang.org/x/sys/unix"
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
	return &arena{fd, mem}, nil
}

// frames returns the memory of count pages from n on.
func (a *arena) frames(n, count int64) []byte {
	return a.mem[n*PageSize : (n+count)*PageSize : (n+count)*PageSize]
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
