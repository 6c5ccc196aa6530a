package volume

import (
	"errors"

	"holdfast.dev/holdfast/device"
)

// The sentinels that errors of this package wrap, beside those of device.
var (
	// ErrNoSpace says that the pool cannot hold what was asked for.
	ErrNoSpace = device.ErrNoSpace
	// ErrExists says that the name is taken.
	ErrExists = errors.New("volume exists")
	// ErrNotFound says that there is no volume of that name.
	ErrNotFound = errors.New("no such volume")
	// ErrCorrupt says that the volume table cannot be trusted.
	ErrCorrupt = errors.New("volume table is damaged")
	// ErrUnsupported says that the table needs a later release.
	ErrUnsupported = errors.New("volume table needs a later release of Holdfast")
	// ErrInvalid says that a name or a size is not allowed.
	ErrInvalid = errors.New("not allowed")
)
