package uffd

import (
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Create makes a userfaultfd for the memory of this process. It sees the
// kernel's faults too where the machine lets this process have that.
func Create(m Mode) (*FD, error) {
	fd, kernelFaults, err := open()
	if err != nil {
		return nil, err
	}
	features, err := agree(fd, m.features())
	if err != nil {
		// The descriptor is of no use; closing it cannot fail.
		_ = unix.Close(fd)
		return nil, err
	}
	return &FD{fd: fd, pagemap: -1, features: features, kernelFaults: kernelFaults}, nil
}

// CanAsync returns nil where the mode Async is possible.
func CanAsync() error {
	f, err := Create(Async)
	if err != nil {
		return err
	}
	return f.Close()
}

// open asks for the kernel's faults first: by the system call, which needs
// CAP_SYS_PTRACE or vm.unprivileged_userfaultfd, then by the device.
func open() (fd int, kernelFaults bool, err error) {
	const flags = unix.O_CLOEXEC | unix.O_NONBLOCK
	all, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, flags, 0, 0)
	if errno == 0 {
		return int(all), true, nil
	}
	if fd, ok := openDevice(flags); ok {
		return fd, true, nil
	}
	own, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, flags|userModeOnly, 0, 0)
	switch errno {
	case 0:
		return int(own), false, nil
	case unix.ENOSYS, unix.EPERM, unix.EACCES, unix.EINVAL:
		return -1, false, fmt.Errorf("%w: the kernel has no userfaultfd, or a rule for this process (seccomp, "+
			"as containers have it) forbids it: %w", ErrUnsupported, errno)
	}
	return -1, false, fmt.Errorf("userfaultfd: %w", errno)
}

func openDevice(flags uintptr) (fd int, ok bool) {
	device, err := unix.Open(devicePath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, false
	}
	made, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(device), ioNew, flags)
	// The device has done its part; closing it tells nothing.
	_ = unix.Close(device)
	return int(made), errno == 0
}

// agree does the handshake. A kernel refuses the whole request if it lacks one
// feature; asked for none it tells what it has.
func agree(fd int, features uint64) (uint64, error) {
	arg := apiArg{api: apiVersion, features: features}
	errno := ioctl(fd, ioAPI, unsafe.Pointer(&arg))
	if errno == 0 {
		return features, nil
	}
	if errno != unix.EINVAL {
		return 0, fmt.Errorf("userfaultfd: agree on features: %w", errno)
	}
	arg = apiArg{api: apiVersion}
	if errno := ioctl(fd, ioAPI, unsafe.Pointer(&arg)); errno != 0 {
		return 0, fmt.Errorf("userfaultfd: ask for features: %w", errno)
	}
	return 0, fmt.Errorf("%w: this kernel lacks %s", ErrUnsupported, lacking(features, arg.features))
}

// lacking names what features lack of those needed.
func lacking(needed, features uint64) string {
	var names []string
	for _, f := range featureNames {
		if needed&^features&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	return strings.Join(names, ", ")
}

// Register puts [addr, addr+n), which must be a shared mapping of a memfd, under
// this userfaultfd: from its return on an access to a page that is not mapped,
// and a store to one that is write-protected, waits until it has been served.
// Pages that are mapped already stay so.
func (f *FD) Register(addr uintptr, n int) error {
	if !f.enter() {
		return closedError("register")
	}
	defer f.leave()
	arg := registerArg{
		rangeArg: rangeArg{uint64(addr), uint64(n)},
		mode:     registerMissing | registerWriteProtect | registerMinor,
	}
	if errno := ioctl(f.fd, ioRegister, unsafe.Pointer(&arg)); errno != 0 {
		return rangeError("register", addr, n, errno)
	}
	const needed = 1<<numWake | 1<<numWriteProtect | 1<<numContinue | 1<<numPoison
	if arg.ioctls&needed != needed {
		return fmt.Errorf("%w: %d bytes at %#x are registered, but the kernel offers only the operations %#x there, of %#x",
			ErrUnsupported, n, addr, arg.ioctls, uint64(needed))
	}
	return nil
}
