package device

import "unsafe"

// DirectAlign is the largest alignment in bytes that disks ask of memory, offset and
// length to be read and written directly (open(2), O_DIRECT).
const DirectAlign = 4096

// Aligned returns n bytes of memory that start at a multiple of DirectAlign, so that
// devices that are open for direct I/O take them without a copy.
func Aligned(n int) []byte {
	b := make([]byte, n+DirectAlign)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (DirectAlign - 1)
	return b[skip : skip+n : skip+n]
}
