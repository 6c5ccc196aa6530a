package deadline

import (
	"math/bits"
	"sync"

	"holdfast.dev/holdfast/device"
)

// buffer is the memory of one transfer.
type buffer struct {
	mem []byte // as direct I/O wants it
}

// buffers holds those not in use, by the power of two that their size is, in
// pages. The collector takes what is not needed for long.
var buffers [8]sync.Pool // pageSize << 7 is largeSize

func newBuffer(n int) *buffer {
	class := bits.Len(uint(max(n-1, 0)) / pageSize)
	if b, _ := buffers[class].Get().(*buffer); b != nil {
		return b
	}
	return &buffer{mem: device.Aligned(pageSize << class)}
}

func (b *buffer) free() { buffers[bits.Len(uint(len(b.mem)-1)/pageSize)].Put(b) }
