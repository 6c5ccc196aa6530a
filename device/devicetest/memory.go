package devicetest

import (
	"fmt"
	"unsafe"
)

// blockSize is the largest alignment that disks ask for, in bytes.
const blockSize = 4096

// aligned returns n bytes of memory at a multiple of blockSize, as direct I/O
// wants it.
func aligned(n int64) []byte {
	p := make([]byte, n+blockSize)
	skip := -int64(uintptr(unsafe.Pointer(&p[0]))) & (blockSize - 1)
	return p[skip : skip+n : skip+n]
}

// errShort is a transfer that returned no error but only so many bytes.
type errShort int

func (e errShort) Error() string { return fmt.Sprintf("no error, but only %d bytes", int(e)) }
