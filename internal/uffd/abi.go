package uffd

import "unsafe"

// The kernel's interface, after include/uapi/linux/userfaultfd.h and
// include/uapi/asm-generic/ioctl.h (which x86-64 and arm64 share).

// apiVersion is UFFD_API, the only version of the interface there has been.
const apiVersion = 0xAA

// userModeOnly is UFFD_USER_MODE_ONLY: faults of the kernel in the memory of
// the process are not delivered, the system call fails with EFAULT instead.
const userModeOnly = 1

// devicePath offers a userfaultfd that sees the kernel's faults too, to whom
// the device's file mode admits (Linux 6.1).
const devicePath = "/dev/userfaultfd"

// UFFD_FEATURE_*.
const (
	featureWriteProtect    = 1 << 0  // PAGEFAULT_FLAG_WP
	featureMissingShmem    = 1 << 5  // MISSING_SHMEM
	featureThreadID        = 1 << 8  // THREAD_ID
	featureMinorShmem      = 1 << 10 // MINOR_SHMEM
	featureExactAddress    = 1 << 11 // EXACT_ADDRESS
	featureProtectShmem    = 1 << 12 // WP_HUGETLBFS_SHMEM
	featureProtectUnmapped = 1 << 13 // WP_UNPOPULATED: came with UFFDIO_CONTINUE_MODE_WP, which has no bit of its own
	featurePoison          = 1 << 14 // POISON
	featureAsync           = 1 << 15 // WP_ASYNC

	// featureInitialised is the kernel's own mark of a userfaultfd whose
	// features have been agreed on and cannot change.
	featureInitialised = 1 << 31
)

// featuresNeeded is what Create asks for in either mode, and what Adopt insists
// on: no more, because events of forks would put descriptors into the process that reads
// them.
const featuresNeeded = featureWriteProtect | featureMissingShmem | featureThreadID | featureMinorShmem |
	featureExactAddress | featureProtectShmem | featureProtectUnmapped | featurePoison

// Mode says who lifts the write-protection of a page that is stored to.
type Mode bool

const (
	// Announced: the process that serves, after the store was announced to it.
	Announced Mode = false
	// Async: the kernel, at once. Who serves finds it with Stored.
	Async Mode = true
)

// features is what a userfaultfd of the mode has to have.
func (m Mode) features() uint64 {
	if m == Async {
		return featuresNeeded | featureAsync
	}
	return featuresNeeded
}

// featureNames name what may be missing, and the Linux that brought it.
var featureNames = []struct {
	bit  uint64
	name string
}{
	{featureMissingShmem, "MISSING_SHMEM (Linux 4.11)"},
	{featureThreadID, "THREAD_ID (Linux 4.14)"},
	{featureWriteProtect, "PAGEFAULT_FLAG_WP (Linux 5.7)"},
	{featureMinorShmem, "MINOR_SHMEM (Linux 5.14)"},
	{featureExactAddress, "EXACT_ADDRESS (Linux 5.18)"},
	{featureProtectShmem, "WP_HUGETLBFS_SHMEM (Linux 5.19)"},
	{featureProtectUnmapped, "WP_UNPOPULATED (Linux 6.4)"},
	{featurePoison, "POISON (Linux 6.6)"},
	{featureAsync, "WP_ASYNC (Linux 6.7)"},
}

// Numbers of the operations within the type 0xAA, _UFFDIO_*.
const (
	numRegister     = 0x00
	numWake         = 0x02
	numWriteProtect = 0x06
	numContinue     = 0x07
	numPoison       = 0x08
	numAPI          = 0x3F
)

// ioctl requests. UFFDIO_WAKE carries the read direction although the kernel
// reads its argument: the header says why.
const (
	ioNew          = ioctlNone | ioctlType
	ioAPI          = ioctlRead | ioctlWrite | unsafe.Sizeof(apiArg{})<<16 | ioctlType | numAPI
	ioRegister     = ioctlRead | ioctlWrite | unsafe.Sizeof(registerArg{})<<16 | ioctlType | numRegister
	ioWake         = ioctlRead | unsafe.Sizeof(rangeArg{})<<16 | ioctlType | numWake
	ioWriteProtect = ioctlRead | ioctlWrite | unsafe.Sizeof(protectArg{})<<16 | ioctlType | numWriteProtect
	ioContinue     = ioctlRead | ioctlWrite | unsafe.Sizeof(fillArg{})<<16 | ioctlType | numContinue
	ioPoison       = ioctlRead | ioctlWrite | unsafe.Sizeof(fillArg{})<<16 | ioctlType | numPoison

	ioctlNone  = uintptr(0) << 30
	ioctlWrite = uintptr(1) << 30
	ioctlRead  = uintptr(2) << 30
	ioctlType  = uintptr(0xAA) << 8
)

// Modes of the operations.
const (
	registerMissing      = 1 << 0
	registerWriteProtect = 1 << 1
	registerMinor        = 1 << 2
	continueProtected    = 1 << 1 // UFFDIO_CONTINUE_MODE_WP
	writeProtectOn       = 1 << 0 // without it the protection is taken away
	writeProtectSilent   = 1 << 1 // and nobody is woken by that
)

// apiArg is struct uffdio_api.
type apiArg struct {
	api, features, ioctls uint64
}

// rangeArg is struct uffdio_range.
type rangeArg struct {
	start, len uint64
}

// registerArg is struct uffdio_register.
type registerArg struct {
	rangeArg
	mode, ioctls uint64
}

// protectArg is struct uffdio_writeprotect.
type protectArg struct {
	rangeArg
	mode uint64
}

// fillArg is struct uffdio_continue and struct uffdio_poison. done is how many
// bytes were filled before the first page that could not be, or an errno below
// zero.
type fillArg struct {
	rangeArg
	mode uint64
	done int64
}

// Events and flags of a message.
const (
	eventPagefault     = 0x12
	pagefaultWrite     = 1 << 0
	pagefaultProtected = 1 << 1
	pagefaultMinor     = 1 << 2
)

// message is struct uffd_msg with the arm for a page fault.
type message struct {
	event   uint8
	_       [7]uint8
	flags   uint64
	address uint64
	thread  uint32
	_       uint32
}

// PAGEMAP_SCAN, after include/uapi/linux/fs.h.
const (
	ioScan = ioctlRead | ioctlWrite | unsafe.Sizeof(scanArg{})<<16 | uintptr('f')<<8 | 16

	scanProtect = 1 << 0 // PM_SCAN_WP_MATCHING
	scanMode    = 1 << 1 // PM_SCAN_CHECK_WPASYNC: fail where the mode is not Async

	// Categories of pages, PAGE_IS_*. A protected page is not written; the mark of
	// the protection where there is no page counts as swapped.
	pageWritten = 1 << 1
	pagePresent = 1 << 3
	pageSwapped = 1 << 4
)

// scanArg is struct pm_scan_arg. Without masks all pages match.
type scanArg struct {
	size, flags, start, end, reached uint64
	regions                          *Region // the kernel's field has 64 bits, as pointers have
	most, mostPages                  uint64
	inverted, mask, anyOf, returned  uint64
}
