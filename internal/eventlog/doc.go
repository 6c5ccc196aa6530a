// Package eventlog keeps what happened in a pool's life, in a file of the pool's
// directory that anybody may read while it is being written.
//
// There is one mechanism for what a person should know: package log/slog. A record
// with the attribute Key is an event; it goes to the log like any other, and is
// kept here too. Its value is the kind of the event, one of the constants below.
//
// # What holds
//
//  1. Whoever logs an event never waits for the file: it is queued, and written by
//     a task of the Log's own.
//  2. The queue, the files and what is held in memory are bounded, however many
//     events there are.
//  3. What is left out is counted, and the count is an event: LeftOut. That is what
//     is more than Burst of one kind about one leg in a Window, which is kept from
//     the log too; what finds the queue full; and what cannot be written.
//  4. Events that were written survive the end of the process, however it ends, and
//     those of a Log that was closed a power cut. A line that was cut off is told
//     from a whole one, and costs none beside it.
//
// # The file
//
// One event is one line of JSON: time (UTC, RFC 3339), level, event (the kind),
// message, and what else there is to say, all in one object. When the file has
// reached sizeMost it is renamed, in place of the one before it: so there are at
// most two.
package eventlog

// Key is the attribute that makes a record an event.
const Key = "event"

// The kinds of events. Those of the mirror name a leg, where one is concerned.
const (
	// PoolOpened and PoolClosed frame the time in which a process had the pool
	// open. If the former is not preceded by the latter the process was killed.
	PoolOpened = "pool-opened"
	PoolClosed = "pool-closed"
	// UncleanOpen: the pool had not been closed, and regions await resync.
	UncleanOpen = "unclean-open"

	LegFailed    = "leg-failed"
	LegAbsent    = "leg-absent"
	LegTakenOut  = "leg-taken-out"
	LegJoining   = "leg-joining"
	LegInSync    = "leg-in-sync"
	LegRepaired  = "leg-repaired"   // its superblock or its region log
	LegStranger  = "leg-left-alone" // a device that is no leg of the pool
	LegError     = "leg-error"      // it could not do what it was asked
	LegTimeout   = "leg-timeout"    // it did not answer
	ErrorsZeroed = "errors-cleared"

	BlockHealed    = "block-healed"
	BlockBad       = "block-bad" // and not healed, as only a check was asked for
	BlockLost      = "block-lost"
	BlockUndecided = "block-undecided"

	ScrubBegan       = "scrub-began"
	ScrubEnded       = "scrub-ended"
	ScrubStopped     = "scrub-stopped"
	ScrubInterrupted = "scrub-interrupted"
	ScrubFailed      = "scrub-failed"
	ResyncBegan      = "resync-began"
	ResyncEnded      = "resync-ended"
	ResyncStuck      = "resync-stuck"

	// JournalReplayed: what was in it when the pool stopped was written home.
	JournalReplayed = "journal-replayed"
	JournalLost     = "journal-lost"

	WriteOutFailed = "write-out-failed"
	FlushFailed    = "flush-failed"

	// LeftOut says how many events of a kind were left out, and why.
	LeftOut = "left-out"
	// Unreadable stands for a line that is none: cut off in a power cut, or
	// changed by somebody.
	Unreadable = "unreadable"
)
