// Package cache holds the pages of volumes in memory, and makes them hold still
// while they are written out.
//
// A Mapping is the cache of one backing (a volume). Its frames lie in one
// sparse memfd, its pages' states in one word each (state.go), and what walks
// have to find in a few sets of page numbers (tags.go). A Cache holds what its
// mappings share: the budgets, the flusher, and reclaim. Programs use a mapping
// through handles, each of which is told of a write-out error once.
//
// # A page's life
//
// A read that misses brings a run of pages in (fill.go); what several lack comes in with
// one read of the backing (readscattered.go). A write asks the
// owner, copies in, marks the sectors dirty and sets the DIRTY tag (write.go).
// Flusher, sync and reclaim all write out through claim (claim.go): under the
// page's lock the word's dirty bits become writeback while the DIRTY tag stays,
// then the WRITEBACK tag is set, and only then is DIRTY cleared, so a sync that
// looks for the page at any moment finds it under one tag or the other (Linux:
// clear_page_dirty_for_io, 2004). While a page is under write-out its frame
// does not change: under the policy wait a writer waits; under the policy copy
// he writes to a shadow, which takes the frame's place when the write-out is
// done, so there are at most two copies. A page that was written stays in
// memory until a flush has made it stable (sync.go). Small runs are handed to the
// backing together; where a flush follows it may take them with that, in one (gather.go).
//
// Some pages change without a call: the holder of a pin stores when he likes
// (pin.go), and so does a process that has the memory mapped (attach.go). Those
// are written from a snapshot. A pinned page counts as dirty for as long as it is
// pinned; a mapped one becomes dirty before its first store, and write access is
// taken away, for a run with one call, before it is written out (not from one that
// is pinned to write: it counts as dirty, and is again when the pin ends). Held pages
// are dirty for their holder alone, and no walk finds them (hold.go).
//
// Where the owner of a backing has nothing to refuse, an address space may be let in
// whose stores are not announced (AttachAsync, async.go): the system notices the
// first store to a page, and its mapper tells when it is asked. It is asked before
// anything is decided by what is dirty: by a sync, by the region log, by reclaim,
// and by the flusher at each interval, so that no page stays dirty unknown for
// longer. The dirty limit slows such an address space only where it faults: what
// it has mapped it may make dirty, at most all of the budget. A page that it may
// have mapped leaves memory by way of a pipe, which still has the last bytes when
// nobody can store any more (takeout.go).
//
// Pages have a checksum from copy-in on, which the backing is handed with the
// bytes: what changes in memory meanwhile is not written as truth (guard.go).
//
// # Invariants
//
//  1. What is under write-out, a frame or a snapshot of it, does not change until
//     the write has returned.
//  2. Before a page becomes dirty its owner has agreed (Reserve); if he refuses
//     no byte changes. He is released once, when it is clean or dropped. Where
//     stores are not announced he has agreed to all beforehand.
//  3. While a page is not locked its tags agree with its word.
//  4. A sync that starts after a write was acknowledged returns nil only if the
//     backing has made that write durable, or what took its page away since, whoever
//     else wrote the page out.
//  5. A page whose write-out failed is dirty; a page whose flush failed becomes
//     dirty again. Neither leaves memory unless it is discarded.
//  6. The pages present and the shadows together stay within the budget; the
//     snapshots, and what is read together comes to, are a few buffers beside it.
//  7. After a discard or truncate has returned, nothing older than it comes
//     back: no fill, write-out, insertion or pin overlaps it.
//  8. The last store through a pin or a mapping reaches the backing with the next
//     write-out after it, whatever was written out in between; and a sync that
//     starts after an unannounced store counts it as acknowledged.
//  9. A wholly valid page that nobody but the cache can change is written only if
//     it is what was copied in or read; if it is not, nobody reads it from then on.
//     Where memory is sound no page is ever found otherwise (H5).
//  10. What a mapper has told of is in the set of stored pages, or dirty, or under
//     write-out from a snapshot made since, before anybody else asks.
//
// # Lock order
//
//	Handle.mu, Hold.mu, Cache.mu
//	  flush group (sync.go)
//	    range of a mapping (ranges), then leaving
//	      a snapshot buffer
//	      page locks, ascending
//	        Mapping.exposing
//	        extract.mu
//	          async.gathering
//	            mappers (Protect, Collect; they do not call the cache)
//	        backing (its own locks; it does not call the cache while it holds one)
//	        wait queues, tag trees, reclaim queues, shadows, errseq
//
// A task that holds a page never waits for a write-out, a range or room in the
// budget, so whoever completes a write-out can always get the page's lock.
//
// # Fault model
//
// A backing may fail any call, and may be slow; it may not hang for ever. After
// a failed flush anything written since the last good one may be gone. Memory may
// lose bits of a page. What it loses of one that is not wholly valid, or that
// others can change, is not noticed; of any other, when that is next written out.
package cache
