// Package journal makes small scattered writes durable by one sequential write
// to each leg and one flush, and tells after a crash what to write home.
//
// It is a redo journal in a ring on an area of each leg. It does no I/O while it
// is open: it says what to write where, the caller writes it to every leg, each
// as he likes, and says what became of it. Only Scan reads, after a crash.
//
// "Every leg" is every leg in sync: which those are is the caller's business. A
// leg that joins them must have all that is in the ring: the caller drains it,
// and the leg is among those that get the header and all that is written after.
//
// # What holds
//
// The names H1 to H12 are those of the whole program's promises.
//
//  1. What Durable has acknowledged is found by Scan after any crash, on every
//     leg alone, until a checkpoint has it home (H1).
//  2. Replay leaves each sector that the ring holds as the newest transaction
//     found has it, and that is none older than the last acknowledged (H2).
//  3. After replay the legs are equal on all the ring held, without a resync:
//     only what is durable in the ring goes home, or what the caller has marked
//     otherwise (Drain) (H3).
//  4. Recovery reads the part of the ring in use and little more; it changes
//     nothing in the ring before all of it is home, so it may be cut off and run
//     again (H4).
//  5. On sound devices Scan reports neither loss nor fault (H5).
//  6. Nothing in the area makes the package crash, allocate beyond what the
//     size of the ring allows, or name a block outside the pool (H12).
//
// # A transaction
//
// It carries sectors of up to MaxEntries blocks, each block with the guard of
// the whole of it as it is then, and has a number. One checksum covers all of
// its bytes, so nothing orders the writes it consists of and nothing is written
// after them: it is there if all of it is. It has the epoch of the ring, 64 bits
// from the system's random source, drawn at Format and at every Open: what an
// earlier life of the ring has left, and data that a client has made to look like a
// transaction, is not taken for one. Its place is a position that rises for ever
// and counts modulo the ring's size; one that meets the ring's end is split
// there, which takes two writes, and no rule for what would be skipped.
//
// Since (epoch, number) names the same bytes on every leg, a transaction may be
// taken from any leg where it is sound. So Scan does not choose a leg: it
// begins at the newest header of any, and for each number takes the first leg
// that has it. That finds all that the leg which reaches furthest has, and also
// what no single leg has whole.
//
// # The order of things
//
// To make a write durable:
//
//	a. Append, then every Write of the transaction to every leg, then Wrote
//	b. Await the transaction; the write has returned only after that
//	c. Mark, flush every leg, Durable
//
// Recovery stops at a transaction that is on no leg, so a flush covers one only
// if all before it were written when the flush began: that is what Mark
// returns and Await waits for. A write that returned sooner would not be in the
// next flush, as a device promises it is. Writes of several transactions may be under way at
// once and end in any order.
//
// To make room:
//
//	d. Checkpoint; write each of its versions home, read from its pieces, with
//	   its tuple
//	e. Await its Need; then as c, which makes the homes durable too
//	f. Release; write the header to every leg, flush, Landed
//
// To empty the ring: the same with Drain for Checkpoint, while nothing is
// appended. It needs no flush to have succeeded before, so it also mends. There
// is one checkpoint at a time, from Checkpoint or Drain to Landed: the homes of
// one that was overtaken would be old versions.
//
// To open, after a crash or not, before anything else is written home:
//
//	g. Scan; Level, flush every leg
//	h. Replay, each home to every leg; flush
//	i. Open; write its header to every leg, flush, Landed
//
// # Why that is right
//
// The ring between the tail of the newest header that is durable on every leg
// and head is never overwritten: Append counts room from that tail, which moves
// only in Landed. A header goes to the slot that the newest durable one is not
// in, so a torn one leaves that.
//
// Release moves the tail past transactions of which every sector is at home,
// durable on every leg, or is in a later transaction that is durable: the index
// leaves out of Checkpoint what a later one overwrites as soon as that is
// written, and Need is the newest there was, so Release asks that it is durable.
// A block goes home with all that the ring has of it, and only if all of that is
// durable: then a crash between, whatever it leaves of the home and the tuple on
// each leg, is repaired on all of them by replay, and the tuple fits. (A caller
// who keeps account of what an absent leg misses notes homes there as any other
// write: the ring forgets them.)
//
// After a crash one leg may have transactions that others lack, which were not
// acknowledged, and two may have their newest headers in different slots. Level
// makes that equal before the first home is written. Without it a second crash
// in the midst of Replay could leave a leg with half of what only another's ring
// can complete. The epoch is drawn anew because numbers begin anew: a
// transaction beyond a gap would otherwise be found when others have filled it.
//
// # Blocks written home directly
//
// A block of which the ring holds anything, by Find, is not written home but by
// a checkpoint: a newer version goes to the ring as well. (The caller keeps
// writes of one block apart in time, so what is being appended is not also
// being written home.) So at replay the ring has nothing older than what is at
// home: a direct write of a block happens only when its last version has left
// the ring, on every leg, for good; and one that came before the block entered
// the ring was covered by the flush that acknowledged the transaction, or was
// never acknowledged.
//
// The other way would be a record that revokes what the ring has of a block. It
// could become durable only after the home write is, since until then the
// journaled version is the one that was acknowledged: so each flush over such a
// block would take two flushes of the device, one after the other. Journaling
// the block again takes one, and costs a second write of those blocks of a large
// run that lie in the ring at that time; discards cost an entry without payload.
//
// # When writing fails
//
// A leg that fails is the caller's to set aside; what the other legs have is
// enough. If all fail, a transaction or a flush, the journal is broken. What was
// not acknowledged may or may not be found after a crash; so a block in it that
// the caller writes home instead may be overwritten with something older. Hence
// Durable refuses every flush until the ring has been drained, which puts the tail
// past whatever failed. Find goes on to tell what was written.
//
// # What recovery can know
//
// A transaction that is sound on no leg ends the chain: it was not written
// whole, or it has rotted. The header, and every transaction, says how far the
// ring was durable when it was made. So a durable transaction that cannot be
// read is noticed (Lost) as long as a header or a transaction made after it was
// flushed can, and replay then goes on behind the gap. With two legs or more,
// both must have lost it: one that cannot be read there says nothing, and one
// that can answers for it, since what was acknowledged is on both. Where none
// can be read, that is a loss too. What a single leg cannot know:
//
//   - whether the last transaction it has whole is the last that was durable;
//   - whether the newer of its two headers has rotted, if the ring says nothing
//     of it: every transaction carries the tail, so this matters only while none
//     has been appended since. Then transactions are replayed that were released,
//     and a block written home directly in that time goes back to one of them;
//   - whether it has missed what others went on to do. Whether it may be
//     believed alone is known to the caller.
//
// # Locks
//
// Journal.mu is held for no I/O and calls nothing outside the package.
//
// # Sources
//
// Redo logging with checkpoints is that of databases, the checksum in place of a
// commit record that of journaling file systems.
package journal
