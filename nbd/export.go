package nbd

import (
	"errors"

	"holdfast.dev/holdfast/device"
)

// ErrNoExport is what Exports.Open wraps when there is no export of that name.
var ErrNoExport = errors.New("no such export")

// Info describes an export to clients.
type Info struct {
	// Name is what clients ask for: at most 4096 bytes of UTF-8.
	Name string
	// Description is a line for people; it may be empty.
	Description string
	// Size is in bytes.
	Size int64
	// ReadOnly says that every change is refused.
	ReadOnly bool
}

// Exports is the set of exports that a server offers. Its methods may be called
// from many goroutines at once.
type Exports interface {
	// List describes all exports. The first is the default: the one that a
	// client gets that names none.
	List() []Info

	// Open opens an export for one connection, which closes it. Its size is the
	// one that List tells.
	Open(name string) (Export, error)
}

// Export is an open export of one connection.
//
// Its methods may be called from many goroutines at once, but Close only when
// no other call is running. Ranges lie within [0, Size) and n is above zero,
// unless the export has shrunk: then it fails with device.ErrOutOfRange.
// Buffers are not kept. Errors reach the client as ENOSPC if they wrap
// device.ErrNoSpace, otherwise as EIO.
type Export interface {
	Size() int64

	// ReadAt and WriteAt transfer everything or fail, and then n counts the
	// bytes from the start that are known to have been transferred.
	ReadAt(p []byte, off int64) (n int, err error)
	WriteAt(p []byte, off int64) (n int, err error)

	// ReadScattered fills parts, which come without sums. After an error it is not
	// known which are filled: each is read by itself then.
	ReadScattered(parts []device.Part) error

	// TryReadAt does what ReadAt does if it takes no waiting, and says whether it did.
	// If not, p may have been changed.
	TryReadAt(p []byte, off int64) bool

	// TryWriteAt writes as much of p, from its start, as takes no waiting, and
	// returns how much that is. That much is not written again: it could undo what
	// another connection has written there meanwhile.
	TryWriteAt(p []byte, off int64) (n int)

	// Discard and WriteZeroes make a range read as zeros; Discard gives its
	// space back and is quick, WriteZeroes keeps the space.
	Discard(off, n int64) error
	WriteZeroes(off, n int64) error

	// Prefetch says that a range will be read soon.
	Prefetch(off, n int64) error

	// Sync makes durable what was written, discarded or zeroed through any
	// Export of the same name by a call that had returned; SyncRange does the
	// same for a range.
	Sync() error
	SyncRange(off, n int64) error

	// Extents calls yield for the extents of [off, off+n), ascending, without
	// gaps, until yield returns false. A hole reads as zeros.
	Extents(off, n int64, yield func(device.Extent) bool) error

	Close() error
}

// find returns the description of the export that a client means by name.
func find(e Exports, name []byte) (Info, bool) {
	list := e.List()
	if len(name) == 0 && len(list) > 0 {
		return list[0], true
	}
	for _, i := range list {
		if i.Name == string(name) {
			return i, true
		}
	}
	return Info{}, false
}

// transmissionFlags are the flags that tell what an export can do.
func transmissionFlags(i Info, structured bool) uint16 {
	flags := uint16(flagHasFlags | flagSendFlush | flagSendFUA | flagCanMultiConn | flagSendCache)
	if i.ReadOnly {
		flags |= flagReadOnly
	} else {
		flags |= flagSendTrim | flagSendZeroes | flagSendFastZero
	}
	if structured {
		flags |= flagSendDF
	}
	return flags
}
