package mutant

// The mistakes that the documents of the problem tell of, named after their years.
const (
	// TagClearedAtClaim: the DIRTY tag goes with the dirty bits, before the
	// WRITEBACK tag is set, as in Linux until 2004.
	TagClearedAtClaim ID = 1 + iota
	// MappedNotMoved: what was stored through a mapping is not moved to the page
	// before its write-out, whose parts others have written.
	MappedNotMoved
	// NotifiedAfter: the owner is told of a mapped page when it is dirty already.
	NotifiedAfter
	// RegionClearedAtEnd: a region is cleared as soon as its last write has ended, and
	// nobody is asked whether it can still change.
	RegionClearedAtEnd
	// RegionClearedIdle: a region is cleared when it was idle for a period.
	RegionClearedIdle
	// ShadowWrittenEarly: what was written during a write-out is written before the
	// original is done.
	ShadowWrittenEarly
	// NotifiedBesideTruncate: the owner is notified with nothing that excludes a
	// truncate.
	NotifiedBesideTruncate
	// PinWrittenFromFrame: a pinned page is written out like any other: from its frame,
	// and is clean then.
	PinWrittenFromFrame
	// GuardBeforeProtect: the guard is computed before write access is taken away.
	GuardBeforeProtect
	// FailedIsClean: a page whose write-out failed is clean.
	FailedIsClean
)

// Mistakes of our own.
const (
	// RegionClearedUnflushed: the legs are not flushed before a region is cleared.
	RegionClearedUnflushed ID = 101 + iota
	// BitAfterWrite: a region's bit becomes durable after the first write to it.
	BitAfterWrite
	// SummaryLate: a tag's summary is updated after its word, without the lock.
	SummaryLate
	// ToWriteClearedEarly: TOWRITE goes when a page is looked at, not when it is claimed.
	ToWriteClearedEarly
	// ReclaimUnchecked: reclaim takes a page by what it was when it was chosen.
	ReclaimUnchecked
	// ReplayOverNewer: a block is written home while the journal has an older version.
	ReplayOverNewer
	// WakeUpLost: a sleeper announces himself after he has looked.
	WakeUpLost
	// ErrorToldOnce: a write-out error is told to one watcher only.
	ErrorToldOnce
	// StaleLegAccepted: a leg that was left behind is taken at its own word.
	StaleLegAccepted
	// FlushJoined: a flush that is under way already is taken for one's own.
	FlushJoined
	// ClearedWhileAway: regions are cleared while a leg is out of use.
	ClearedWhileAway
	// RegionLogIgnored: whatever may differ is taken to differ everywhere.
	RegionLogIgnored
)
