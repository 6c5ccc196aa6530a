// Package mirror keeps the same bytes on one to four devices, the legs of a
// pool, and knows after a crash where they may differ. Package ondisk has what a
// leg holds besides data: where things lie on it, its two superblocks, and the
// blocks of the region log.
//
// # What holds
//
// The names H1 to H10 are those of the whole program's promises.
//
//  1. A flush that was acknowledged survives any crash after it, on every leg
//     in sync (H1).
//  2. After a crash every sector reads as a version written to it, none older
//     than the last acknowledged flush that covered it (H2). Where the legs may
//     differ they are made equal before anything is read.
//  3. After resync the legs in sync are equal on every block (H3).
//  4. Resync reads and writes only regions whose bit is set, and replay only
//     blocks in the journal; both may be cut off and started again at any time
//     (H4).
//  5. While a leg is failed no bit is cleared, so what it misses is remembered,
//     and when it returns only that is copied; a leg that missed an acknowledged
//     write or flush is never used again on its own word (H10).
//  6. A block is read as it was written, or not at all. On devices that do as
//     they say no leg is ever charged with a block; one that holds another is
//     charged and healed when it is read or scrubbed (H5).
//  7. Nothing that a leg holds can crash the program or make it allocate
//     without bound (H12).
//
// # The region log
//
// The data area is cut into regions, one bit each. A bit is durable on every leg
// in sync or joining before the first write to its region reaches a leg. It is cleared
// only when all of this holds at one moment: since the region was made a
// candidate its owner has written out what was dirty there and says that
// nothing there can change unseen, no write has begun; every leg was flushed
// since its last write ended; every leg of the pool is in sync or joining; and it
// does not await resync. Clearing may be late or lost and does no harm.
//
// Each write of a block of the log goes to the other of its two slots (package
// ondisk), and is flushed before the block is written again. So when a write is
// torn, the other slot is whole, durable, and the version before. That version has
// every bit that anybody relies on: a bit counts as durable only when the write
// that sets it is, and stops counting when a write that clears it is issued
// (regions.disk). A write that failed leaves its slot undecided; the next goes to
// the same slot.
//
// After a crash the union of all logs counts. It is written back to every leg
// before the pool opens.
//
// # Guards
//
// Each block of data has a guard, a tuple of package guard, at its place in the
// guard area of each leg, unless the pool was made without. Tuples in memory
// (guards.go) are the truth; they change when a block has been written to the
// legs, and are written with the next flush, before the devices are flushed. So
// an acknowledged flush has made data and guards durable; what a crash takes apart
// lies in a region whose bit is set, and was in flight. A change of a part of a
// block reads, checks and writes the whole.
//
// Whoever finds that something is wrong or may differ has the piece mended
// (mend.go), with its range held: all legs are read, and for each block the copy
// that fits its guard is the truth. Where the legs have different tuples, the
// newest that any leg's copy fits decides: so a write that a leg lost together
// with its guard is found too. If no copy fits,
//
//   - in a region that awaits resync the block was in flight, not flushed since
//     it was written. What the source has is kept, gets a new guard, is logged and
//     counted (GuardStatus.Undecided). Nobody is charged in such a region.
//   - anywhere else it is lost: reads fail with device.ErrGuard until it is
//     written anew. Wrong bytes are never returned.
//
// A leg that is alone after a crash knows from a guard that does not fit only
// that the block was in flight or has rotted, and takes it for the former. What
// it cannot know is that it lost a write together with its guard.
//
// Blocks that were never written, and those of a discard that covers whole blocks
// of the guard area (2 MiB of data), have a tuple that knows nothing. Such a
// discard that one leg alone loses is not found by reading.
//
// # The journal
//
// Small scattered writes that are about to be flushed (WriteBatch) go to a ring on
// every leg: package journal says what holds of it, and what its caller has to do.
// A sync of them is one write and one flush of each leg; where nobody else is at the
// journal or flushes a leg does both in one turn (SyncBatch). Nothing else is written:
// no bit of a region, for nothing at home changes, and no guard, for the
// transaction carries the tuples. They go to the ring as whole blocks, so what it
// holds of a block is one version; tuples in memory are those of what is at home,
// and the ring's come after them. Larger parts go home, and all if the ring is full.
//
//   - A block of which the ring holds a version is read from there, checked by its
//     tuple, and never written home but by a checkpoint: whatever changes it goes to
//     the ring as well, and waits for room if there is none. So at replay the ring
//     has nothing older than what is at home, and home is older or the same.
//   - A checkpoint takes home what is durable, the ordinary way: under the bits of
//     the regions, to all legs in sync or joining, with its tuples. So an absent leg
//     has its share remembered, and a bit that is clear goes on meaning what it
//     does: what lies in the ring alone is missed by no leg at home. When that is
//     durable the header that frees the room is. It reads the ring in long runs of
//     one leg, and gives the blocks their tuples when all are at home: nobody asks
//     for those, or for what is at home, while the ring has a version.
//   - Resync, mending and scrub pass by what lies at home beneath a version, which
//     a checkpoint will overwrite on every leg; scrub reads the version itself on
//     every leg. A leg that has another there is charged, and given it anew.
//   - A leg is let in with the ring empty, and with headers like the others',
//     whatever it held; from then on it takes all that is written there. So when it
//     is in sync it has all that is in the ring.
//   - If a transaction or a flush fails on every leg, no flush is acknowledged
//     before the ring has been emptied, with nothing in flight.
//   - At open the rings of the legs in sync are read, made level and replayed, after
//     the pool is recorded as open, for that writes data, and before anything is
//     read. A pool that was closed has an empty one.
//
// A block that is in the ring of every leg otherwise than it was written is lost:
// with guards it gets the tuple that it should fit, so that reads fail until it is
// written anew; without, what is at home is read, which is older. Both are counted
// and logged. If a transaction that was flushed can be read from no leg, or it
// cannot be told, the pool is not opened unless somebody does without
// (Options.WithoutJournal).
//
// A leg alone has everything that was acknowledged while it was in sync. Of its
// ring it cannot know more than package journal says: whether the last transaction
// that it has whole was the last that was durable, and whether the newer of its
// headers has rotted.
//
// # Generations
//
// Every change of a leg's membership, and of whether the pool is open, raises
// the generation by one and is durable on every leg in sync before anything
// relies on it. A leg whose superblocks cannot be written in this is failed,
// which is the next change. Three rules make the newest superblock tell which
// legs may be used:
//
//   - No write or flush is acknowledged before the legs that missed it are
//     recorded as failed on all that remain. So a leg that the newest superblock
//     lists as in sync has everything acknowledged before that superblock.
//   - A change starts only when all legs in sync have the one before; legs
//     found one behind are brought up to it first. So a leg in sync is never more
//     than one behind the newest, however often updates are interrupted.
//   - Opening raises the generation twice before the first write to data. So a
//     leg that was copied or put aside while the pool was closed is two behind as
//     soon as it lacks anything, and an interrupted update, which makes one, is
//     told from it.
//
// Every leg that the newest superblock given lists as in sync must be given, or
// be one to do without (see below). A stale leg lists as in sync those that went
// on without it. A leg that is listed as failed is set aside until it is attached.
//
// What generations cannot tell: a leg copied while the pool was open, and put
// back before the next opening or after a crash.
//
// What one leg can tell never gets older: package ondisk says why. Of its two
// superblocks a broken one is written anew at open.
//
// # The life of a leg
//
// A member is in sync, joining, failed, or removed, which is a place without a
// leg; places are never renumbered, and a leg that is added takes a removed one
// first.
//
// A joining leg takes every write, flush, log and superblock write like those in
// sync, and is failed where it misses one that some leg in sync took. It is not
// read from and not a source, and what only it took is not acknowledged. Legs
// join with nothing in flight: the whole range is held, no round and no resync
// runs. Then the whole log is written to it, the regions whose bit is set await
// resync, and it is listed. When none awaits any more and a flush begun after
// that has succeeded, it is put in sync. So:
//
//   - A bit that is clear means that every member, failed ones too, holds what
//     there is in that region, durably: when it was cleared all were in sync or
//     joining, and equal there; and a write sets it again on all that remain. So
//     a leg that returns, also after other openings, lacks only regions whose bit
//     is set.
//   - A leg that held nothing, added or put in another's place, lacks all: before
//     it is listed, the bits of all regions are set, durably, that are not a hole
//     on both sides of which no guard knows anything. Its superblocks are erased
//     first, so that no older one outlives them as the better copy.
//   - In each change the legs that were in sync before are written first, then
//     those joining or just put in sync. So such a leg never knows of a change
//     alone, and opening without it cannot be contradicted by it.
//   - A crash leaves the leg joining, and the bits say with what to go on; or not
//     yet listed, and then it is a stranger: left alone, as no leg is lacking.
//
// Each member has the generation of its state. A failed leg was used without the
// others afterwards, in a pool that had failed them, exactly if data may have been
// written in it (ondisk.Superblock.Used) in that generation or later; in that very
// one only if it also lists a leg in sync as not so. Such legs have diverged: which
// of them counts only a person can say, by naming one to do without. That sets the
// generation up to which its word is denied. Attaching one by force copies the
// regions that its own log names too.
//
// A pool opens without legs that are listed as in sync
//
//   - if it was closed cleanly, and those given are more than half of the legs
//     listed as in sync, or half with the first of them. This is dynamic-linear
//     voting: of two parts never both may. For this to hold, a leg whose superblock
//     may still say that the pool was closed, because opening or closing could not
//     write it, is failed only by such a majority of the legs that it lists;
//     otherwise opening or closing fails. And a record that the pool is closed
//     that some leg missed is taken back before that leg is failed.
//   - by force: if a person names them (Options.Without). Then what they held and
//     the others did not is lost.
//
// After a crash of the pool a leg that is missing may be the one that went on, so
// only force helps. A person may fail or remove any leg but the last in sync. If
// that one is lost for good while another is joining, naming it makes the joining
// one do, with regions in it that are older.
//
// # Failing legs
//
// Fault model: a device may fail any operation, once or for good, with or without
// doing part of it, and may lose in a crash, sector by sector, what was not
// flushed. A write or flush that some legs did and others failed fails those
// others. One that all in sync failed fails none: the caller is told, and the regions
// await resync. A flush that failed on every leg may have dropped what was
// written before it although a later flush succeeds: so those regions are
// written anew to all legs, and the next caller of Flush is told. A read that
// fails is answered by another leg, which writes the block anew on the first. A
// leg with too many blocks that cannot be read, or are not what was written
// (maxFaults), is failed, unless it is the last. A leg that never answers is no
// different, if whoever opens the legs wraps them in devices that fail with
// device.ErrTimeout: without that every call waits for it.
//
// # Order of locks
//
//	cycle.mu                        a round, a leg that joins: held across I/O
//	resync.mu                       a region, a leg that joins: held across I/O
//	ring.emptying                   a checkpoint, a leg that joins: held across I/O
//	  ranges                        a range of data: held across I/O
//	    members.mu                  a change of membership: held across I/O
//	      flusher.mu                never across I/O
//	      guards.mu                 never across I/O; a block that is loading stands in
//	      regions.mu                never across I/O; regions.committing stands in
//	      leg.flushMu               across one flush of one device
//	      fanout.mu                 never across I/O
//	      healing.mu                across one call of the journal
//	      the journal's
//	      store.mu, faults.mu, scrub.mu, bout.mu
//
// Who holds a range asks for no other, but for those of a batch, of a scattered read or write
// or of a checkpoint that are free at once; and makes no room in the ring.
//
// The owner is called with cycle.mu held and nothing else.
//
// # Sources
//
// The states of a region and the helper that cleans them are an old proposal
// for Linux software mirrors, with conditions added for pages that change
// unseen. Dynamic-linear voting is from work on replicated files in the 1980s.
// Group commit, of flushes and of the region log, is that of database logs.
package mirror
