package mirror

import (
	"errors"
	"fmt"

	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// The sentinels that the mirror's errors wrap. Errors of a leg's device are
// wrapped too, so device.ErrIO and its peers are found beneath them.
var (
	// ErrInvalid says that an option or argument cannot be used.
	ErrInvalid = errors.New("invalid option")
	// ErrTooSmall says that a leg cannot hold what it should hold.
	ErrTooSmall = errors.New("leg is too small")
	// ErrInUse says that a leg to be formatted already belongs to a pool.
	ErrInUse = errors.New("leg is already in use")
	// ErrCorrupt says that what a leg holds cannot be trusted.
	ErrCorrupt = ondisk.ErrCorrupt
	// ErrForeign says that a leg does not belong with the others.
	ErrForeign = errors.New("leg belongs to another pool")
	// ErrDuplicate says that one leg was given more than once.
	ErrDuplicate = errors.New("leg given twice")
	// ErrStale says that a leg is older than its peers.
	ErrStale = errors.New("leg is out of date")
	// ErrMissing says that a leg that is needed was not given.
	ErrMissing = errors.New("leg is missing")
	// ErrDiverged says that legs went on without each other, and that each may
	// hold what the other lacks.
	ErrDiverged = errors.New("leg went on without the others")
	// ErrNoLeg says that a pool has no leg of a name.
	ErrNoLeg = errors.New("no such leg")
	// ErrWrongState says that a leg is not in a state for what was asked.
	ErrWrongState = errors.New("leg is in the wrong state")
	// ErrLastLeg says that no other leg holds everything.
	ErrLastLeg = errors.New("leg is the last in sync")
	// ErrTooMany says that a pool has as many legs as it can.
	ErrTooMany = errors.New("too many legs")
	// ErrUnsupported says that a leg uses features this program does not know.
	ErrUnsupported = ondisk.ErrUnsupported
	// ErrJournal says that something which was flushed was in the journal, and can
	// be read from no leg.
	ErrJournal = errors.New("journal cannot be read whole")

	// errFaults fails a leg that spoils what it holds.
	errFaults = fmt.Errorf("more than %d blocks in %v could not be read, or held something else than was written", maxFaults, faultWindow)
)
