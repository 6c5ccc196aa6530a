package nbd

import (
	"math/bits"
	"sync"
)

// Buffers come in powers of two, each with a little room besides, so that a
// reply of a power of two fits with its headers.
const (
	minBufferShift = 12
	maxBufferShift = 25 // MaxPayload
	bufferSlack    = 4096
)

// buffer is memory for one request. What is in use at once is bounded by each
// connection's maxInflightBytes; what is idle goes with the next collection.
type buffer struct {
	b     []byte
	class int
}

var bufferPools [maxBufferShift - minBufferShift + 1]sync.Pool

// newBuffer returns a buffer of at least n bytes with any content; n is at most
// MaxPayload+bufferSlack.
func newBuffer(n int) *buffer {
	class := 0
	if n > 1<<minBufferShift+bufferSlack {
		class = bits.Len(uint(n-bufferSlack-1)) - minBufferShift
	}
	if b, ok := bufferPools[class].Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, 1<<(class+minBufferShift)+bufferSlack), class: class}
}

// free gives b back. A nil b is ignored.
func (b *buffer) free() {
	if b != nil {
		bufferPools[b.class].Put(b)
	}
}
