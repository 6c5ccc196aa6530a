package journal

import "errors"

// The sentinels that the journal's errors wrap. Errors of a leg's device are
// wrapped too, so device.ErrIO and its peers are found beneath them.
var (
	// ErrInvalid says that the journal's place or size cannot be used.
	ErrInvalid = errors.New("journal cannot be laid out so")
	// ErrFull says that a transaction has no room until a checkpoint has made
	// some.
	ErrFull = errors.New("journal is full")
	// ErrBroken says that nothing more can be made durable through the journal
	// until all that it holds is home and it was emptied.
	ErrBroken = errors.New("journal is broken until it is drained")
	// ErrEarly says that a step was asked for before one that it relies on.
	ErrEarly = errors.New("journal is not that far yet")
	// ErrDamaged says that what a leg holds of the journal cannot be trusted.
	ErrDamaged = errors.New("journal is damaged")
)
