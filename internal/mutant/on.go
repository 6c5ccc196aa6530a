//go:build explore

package mutant

import "fmt"

// Mutant is an entry of the table.
type Mutant struct {
	ID ID
	// Name is what a command line calls it: the year of the mistake, or a few words.
	Name string
	// Mistake says what is done wrong.
	Mistake string
	// Breaks says what it shows itself as, with the number of the promise.
	Breaks string
}

// All are the mutants that there are.
var All = []Mutant{
	{TagClearedAtClaim, "2004", "the DIRTY tag is cleared together with the flag at claim", "a sync returns early (H6)"},
	{MappedNotMoved, "2006", "a mapped page's dirtiness is not moved to the page before its write-out", "the last store is lost (H7)"},
	{NotifiedAfter, "2006b", "the owner is notified after the page is dirty instead of before", "a lost notification (H8)"},
	{RegionClearedAtEnd, "2008", "a region is cleared when its last write completes", "the legs differ after a crash (H3)"},
	{RegionClearedIdle, "2008b", "a region is cleared after an idle period", "the legs differ after a crash (H3)"},
	{ShadowWrittenEarly, "2008c", "a shadow is written before the original is done", "two copies in flight (H2, H3)"},
	{NotifiedBesideTruncate, "2009", "notify is not excluded against truncate", "old bytes return, or a reservation leaks (H8, H9)"},
	{PinWrittenFromFrame, "2009b", "a pinned page is written from its frame and marked clean", "the holder's store is lost (H7), the legs differ (H3)"},
	{GuardBeforeProtect, "2010", "the guard is computed before write access is taken away", "a false mismatch (H5)"},
	{FailedIsClean, "2018", "a failed write-out marks the page clean", "an acknowledged write is gone (H1)"},

	{RegionClearedUnflushed, "unflushed", "the legs are not flushed before a region is cleared", "the legs differ after a crash (H3)"},
	{BitAfterWrite, "bit-late", "a region's bit is durable only after the first write to it", "the legs differ after a crash (H3)"},
	{SummaryLate, "summary-late", "a tag's summary is updated late, outside the lock", "a sync returns early (H6)"},
	{ToWriteClearedEarly, "towrite-early", "TOWRITE is cleared before the page is claimed", "a sync returns early (H6)"},
	{ReclaimUnchecked, "reclaim-unchecked", "reclaim does not look again at the page that it drops", "an acknowledged write is gone (H1)"},
	{ReplayOverNewer, "replay-newer", "a block is written home of which the journal has an older version, and replay puts that over it", "an acknowledged write is gone (H1)"},
	{WakeUpLost, "wake-up-lost", "a sleeper announces himself after he has looked", "nobody can go on"},
	{ErrorToldOnce, "told-once", "a write-out error is told to one watcher only", "a sync that failed says that it did not (H6)"},
	{StaleLegAccepted, "stale-leg", "a leg that was left behind is taken at its own word", "an acknowledged write is gone (H10)"},
	{FlushJoined, "flush-joined", "a flush that is under way already is taken for one's own", "a sync returns early (H6)"},
	{ClearedWhileAway, "away-forgotten", "regions are cleared while a leg is away", "the legs differ when it is back (H3, H10)"},
	{RegionLogIgnored, "log-ignored", "every region is taken for one in which the legs may differ", "recovery and returning legs copy all (H4, H10)"},
}

// on is changed only while nothing runs.
var on ID

// On says whether the mutant is switched on.
func On(id ID) bool { return on == id }

// Switch switches the mutant of a name on, and every other off; an empty name all.
func Switch(name string) error {
	if name == "" {
		on = 0
		return nil
	}
	for _, m := range All {
		if m.Name == name {
			on = m.ID
			return nil
		}
	}
	return fmt.Errorf("there is no mutant %q", name)
}
