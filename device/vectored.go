package device

// Vectored is implemented by devices that can move several buffers from or to
// one contiguous range in one operation.
type Vectored interface {
	// ReadVecAt fills bufs in turn from off on; n is as in ReadAt.
	ReadVecAt(bufs [][]byte, off int64) (n int, err error)
	// WriteVecAt writes bufs in turn from off on; n is as in WriteAt.
	WriteVecAt(bufs [][]byte, off int64) (n int, err error)
}

// ReadVec fills bufs in turn from d's off on: in one operation if d is
// Vectored, otherwise one for each buffer.
func ReadVec(d Device, bufs [][]byte, off int64) (int, error) {
	if v, ok := d.(Vectored); ok {
		return v.ReadVecAt(bufs, off)
	}
	return eachBuffer(d, bufs, off, d.ReadAt)
}

// WriteVec writes bufs in turn from d's off on: in one operation if d is
// Vectored, otherwise one for each buffer.
func WriteVec(d Device, bufs [][]byte, off int64) (int, error) {
	if v, ok := d.(Vectored); ok {
		return v.WriteVecAt(bufs, off)
	}
	return eachBuffer(d, bufs, off, d.WriteAt)
}

// eachBuffer looks at the whole range first, because a call that reaches
// outside the device fails whole.
func eachBuffer(d Device, bufs [][]byte, off int64, one func([]byte, int64) (int, error)) (int, error) {
	if err := CheckRange(d.Size(), off, vecLen(bufs)); err != nil {
		return 0, err
	}
	done := 0
	for _, b := range bufs {
		n, err := one(b, off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func vecLen(bufs [][]byte) int64 {
	var n int64
	for _, b := range bufs {
		n += int64(len(b))
	}
	return n
}
