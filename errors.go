package holdfast

import (
	"errors"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/config"
	"holdfast.dev/holdfast/mirror"
	"holdfast.dev/holdfast/volume"
)

// The errors that callers may tell apart with errors.Is, whichever layer they
// come from.
var (
	// ErrBusy says that another program has the pool or one of its legs open.
	ErrBusy = device.ErrBusy
	// ErrIO says that a leg failed to do what it was asked.
	ErrIO = device.ErrIO
	// ErrTimeout says that a leg did not answer within its deadline.
	ErrTimeout = device.ErrTimeout
	// ErrNoSpace says that there is no room for a volume, or a write was refused
	// for want of room.
	ErrNoSpace = device.ErrNoSpace
	// ErrOutOfRange says that a call reached beyond a volume's end.
	ErrOutOfRange = device.ErrOutOfRange
	// ErrClosed says that the pool or the volume's handle is closed.
	ErrClosed = cache.ErrClosed
	// ErrRefused says that a page may not become dirty: its owner said no.
	ErrRefused = cache.ErrRefused
	// ErrHeld says that a page belongs to a Hold that is not released.
	ErrHeld = cache.ErrHeld
	// ErrAsync says that pages cannot be held while programs have the volume mapped
	// without announcing their stores.
	ErrAsync = cache.ErrAsync
	// ErrPinned says that a page is pinned and what was asked cannot be done.
	ErrPinned = cache.ErrPinned
	// ErrTooManyPins and ErrHoldsFull say that as much is pinned, or held, as may
	// be: a quarter of the dirty limit each.
	ErrTooManyPins = cache.ErrTooManyPins
	ErrHoldsFull   = cache.ErrHoldsFull
	// ErrWriteOut says that written data has not reached the legs. It is kept in
	// memory and tried again.
	ErrWriteOut = cache.ErrWriteOut

	// ErrNotFound says that there is no volume of that name.
	ErrNotFound = volume.ErrNotFound
	// ErrExists says that there is a volume of that name.
	ErrExists = volume.ErrExists
	// ErrInvalid says that a volume's name or size is not allowed.
	ErrInvalid = volume.ErrInvalid
	// ErrTableCorrupt says that neither copy of the table of volumes can be used.
	ErrTableCorrupt = volume.ErrCorrupt

	// ErrJournal says that something which had been flushed was in the journal, and
	// can be read from no leg.
	ErrJournal = mirror.ErrJournal

	// ErrLegCorrupt says that what a leg holds cannot be trusted.
	ErrLegCorrupt = mirror.ErrCorrupt
	// ErrLegForeign says that a leg belongs to another pool.
	ErrLegForeign = mirror.ErrForeign
	// ErrLegMissing says that a leg cannot be found.
	ErrLegMissing = mirror.ErrMissing
	// ErrLegStale says that a leg is older than its peers.
	ErrLegStale = mirror.ErrStale
	// ErrLegTooSmall says that a leg cannot hold what it should.
	ErrLegTooSmall = mirror.ErrTooSmall
	// ErrLegDiverged says that legs went on without each other.
	ErrLegDiverged = mirror.ErrDiverged
	// ErrNoLeg says that a pool has no leg of that name.
	ErrNoLeg = mirror.ErrNoLeg
	// ErrLegState says that a leg is not in a state for what was asked.
	ErrLegState = mirror.ErrWrongState
	// ErrLastLeg says that no other leg holds everything.
	ErrLastLeg = mirror.ErrLastLeg
	// ErrTooManyLegs says that a pool has as many legs as it can.
	ErrTooManyLegs = mirror.ErrTooMany
	// ErrLegInUse says that a leg to be formatted may hold something of value.
	ErrLegInUse = mirror.ErrInUse

	// ErrSettings says that holdfast.toml, or an option, is not accepted.
	ErrSettings = config.ErrInvalid
	// ErrNoPool says that the directory holds no pool.
	ErrNoPool = errors.New("no pool here")
	// ErrPoolExists says that the directory holds a pool already.
	ErrPoolExists = errors.New("there is a pool here already")
)
