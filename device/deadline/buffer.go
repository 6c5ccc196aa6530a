package deadline

import (
	"math/bits"
	"sync"
	"unsafe"
)

// buffer is the memory of one transfer.
type buffer struct {
	mem []byte // at a multiple of pageSize, as direct I/O wants it
}

// buffers holds those not in use, by the power of two that their size is, in
// pages. The collector takes what is not needed for long.
var buffers [8]sync.Pool // pageSize << 7 is largeSize

func newBuffer(n int) *buffer {
	class := bits.Len(uint(max(n-1, 0)) / pageSize)
	if b, _ := buffers[class].Get().(*buffer); b != nil {
		return b
	}
	size := pageSize << class
	mem := make([]byte, size+pageSize)
	skip := -int(uintptr(unsafe.Pointer(&mem[0]))) & (pageSize - 1)
	return &buffer{mem: mem[skip : skip+size]}
}

func (b *buffer) free() { buffers[bits.Len(uint(len(b.mem)-1)/pageSize)].Put(b) }
