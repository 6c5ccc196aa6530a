package ondisk

import "errors"

// The sentinels that this package's errors wrap, but for errors of a device.
var (
	// ErrCorrupt says that what a leg holds cannot be trusted.
	ErrCorrupt = errors.New("leg is damaged")
	// ErrUnsupported says that a leg uses features this program does not know.
	ErrUnsupported = errors.New("leg uses unknown features")
)
