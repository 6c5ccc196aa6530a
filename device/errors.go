package device

import (
	"errors"
	"fmt"
)

// The sentinels that device errors wrap.
var (
	// ErrOutOfRange says that a call reached outside [0, Size).
	ErrOutOfRange = errors.New("outside the device")
	// ErrIO says that the device failed to do what it was asked.
	ErrIO = errors.New("input/output error")
	// ErrClosed says that the device was closed.
	ErrClosed = errors.New("device is closed")
	// ErrBusy says that another program holds the device.
	ErrBusy = errors.New("in use by another program")
	// ErrNoSpace says that the store beneath the device is full.
	ErrNoSpace = errors.New("no space left")
	// ErrReadOnly says that the device was opened for reading only.
	ErrReadOnly = errors.New("opened for reading only")
	// ErrGuard says that bytes changed since their checksum was taken.
	ErrGuard = errors.New("bytes do not fit their guard")
	// ErrTimeout says that the device did not answer in time. What it was asked
	// may still be done, in part or whole.
	ErrTimeout = errors.New("the device does not answer")
)

// OpError says which operation failed, where, and why.
type OpError struct {
	Op   string // read, write, flush, discard, zero, open
	Name string // the device, as a person knows it: a path, mostly
	Off  int64  // bytes
	Len  int64  // bytes
	Err  error
}

func (e *OpError) Error() string {
	if e.Len == 0 && e.Off == 0 {
		return fmt.Sprintf("%s: %s: %v", e.Name, e.Op, e.Err)
	}
	return fmt.Sprintf("%s: %s of %d bytes at %d: %v", e.Name, e.Op, e.Len, e.Off, e.Err)
}

// Unwrap returns the cause.
func (e *OpError) Unwrap() error { return e.Err }

// CheckRange returns an error that wraps ErrOutOfRange unless [off, off+n) lies
// within a device of the given size. It is safe for any values.
func CheckRange(size, off, n int64) error {
	if off < 0 || n < 0 || off > size || n > size-off {
		return fmt.Errorf("%w: %d bytes at %d of a device of %d", ErrOutOfRange, n, off, size)
	}
	return nil
}
