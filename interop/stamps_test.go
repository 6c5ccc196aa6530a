package interop

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

const (
	// stampedRequest is the size of a request of writeStamped, in bytes.
	stampedRequest = 1 << 20
	// inFlight is how many requests are under way at once.
	inFlight = 8
)

// stampEvery puts its offset into each sector of a buffer.
func stampEvery(p []byte, off int64) {
	for i := 0; i < len(p); i += 512 {
		binary.LittleEndian.PutUint64(p[i:], uint64(off+int64(i))|1)
	}
}

// eachRequest calls f for every request of [0, size), several at once.
func eachRequest(size int64, f func(buf []byte, off int64) error) error {
	var next atomic.Int64
	var g errgroup.Group
	for range inFlight {
		g.Go(func() error {
			buf := make([]byte, stampedRequest)
			for {
				off := next.Add(stampedRequest) - stampedRequest
				if off >= size {
					return nil
				}
				if err := f(buf, off); err != nil {
					return fmt.Errorf("at %d: %w", off, err)
				}
			}
		})
	}
	return g.Wait()
}

// writeStamped writes [0, size) so that each sector says where it belongs.
func writeStamped(c *client, size int64) error {
	return eachRequest(size, func(buf []byte, off int64) error {
		stampEvery(buf, off)
		return c.writeAt(buf, off, 0)
	})
}

// checkStamped reads what writeStamped wrote.
func checkStamped(c *client, size int64) error {
	return eachRequest(size, func(buf []byte, off int64) error {
		if err := c.readAt(buf, off); err != nil {
			return err
		}
		for i := 0; i < len(buf); i += 512 {
			want := uint64(off+int64(i)) | 1
			if got := binary.LittleEndian.Uint64(buf[i:]); got != want {
				return fmt.Errorf("the sector at %d holds the stamp %d", off+int64(i), got)
			}
		}
		return nil
	})
}
