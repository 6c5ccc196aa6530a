package uffd

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Adopt takes over a userfaultfd that another process made with Create and sent
// here, to serve its faults. What it finds to be anything else it refuses with
// ErrNotUserfaultfd. After an error fd is still the caller's, otherwise it is
// closed.
//
// Nothing of it is taken on trust. The features must be those of Create: with
// others the kernel would hand out descriptors of forked processes, or keep its
// operations waiting for events to be read.
func Adopt(fd int) (*FD, error) { return adopt(fd, Announced) }

func adopt(fd int, m Mode) (*FD, error) {
	if err := inspect(fd, m.features()); err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("userfaultfd: descriptor %d: %w", fd, err)
	}
	// A copy, because a file closes what it was made from, also after an error.
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("userfaultfd: copy descriptor %d: %w", fd, err)
	}
	faults, err := newReader(os.NewFile(uintptr(own), "userfaultfd"))
	if err != nil {
		return nil, err
	}
	// The copy is what counts; closing this one tells nothing.
	_ = unix.Close(fd)
	return &FD{fd: own, pagemap: -1, features: m.features(), faults: faults}, nil
}

// inspect looks at what /proc says of a descriptor: only there can its kind be
// told without doing something to it.
func inspect(fd int, needed uint64) error {
	number := strconv.Itoa(fd)
	kind, err := os.Readlink("/proc/self/fd/" + number)
	if err != nil {
		return fmt.Errorf("%w: descriptor %d: %w", ErrNotUserfaultfd, fd, err)
	}
	if kind != "anon_inode:[userfaultfd]" {
		return fmt.Errorf("%w: descriptor %d is %q", ErrNotUserfaultfd, fd, kind)
	}
	info, err := os.ReadFile("/proc/self/fdinfo/" + number)
	if err != nil {
		return fmt.Errorf("%w: descriptor %d: %w", ErrNotUserfaultfd, fd, err)
	}
	features, err := parseFeatures(string(info))
	if err != nil {
		return fmt.Errorf("%w: descriptor %d: %w", ErrNotUserfaultfd, fd, err)
	}
	if features != needed|featureInitialised {
		return fmt.Errorf("%w: descriptor %d has the features %#x, not %#x",
			ErrNotUserfaultfd, fd, features, needed|featureInitialised)
	}
	return nil
}

// parseFeatures finds the features in use in a line such as
//
//	API:	aa:80007d21:1f
//
// which are the interface, the features, and the operations, in hexadecimal.
func parseFeatures(info string) (uint64, error) {
	for line := range strings.Lines(info) {
		rest, ok := strings.CutPrefix(line, "API:")
		if !ok {
			continue
		}
		fields := strings.Split(strings.TrimSpace(rest), ":")
		if len(fields) != 3 || fields[0] != strconv.FormatUint(apiVersion, 16) {
			return 0, fmt.Errorf("interface %q", strings.TrimSpace(rest))
		}
		return strconv.ParseUint(fields[1], 16, 64)
	}
	return 0, fmt.Errorf("no interface in its description")
}
