// Package ondisk is what a leg holds besides data: where things lie on it, and
// the superblocks and region-log blocks that say so.
//
// A leg, in bytes:
//
//	0        left alone: boot sectors and partition tables live there
//	4096     superblock, first copy
//	8192     region log, the same length whatever the region size
//	...      guards, 8 bytes for each block of data
//	...      journal
//	n MiB    data
//	last     superblock, second copy, in the last whole block of the leg
//
// A pool without a journal has its area all the same, unused, and so has one
// without guards. A superblock tells where each area lies, and nothing but that
// counts once a leg is made.
//
// Package mirror says what the states and generations mean, and which of several
// legs is believed; package journal and internal/guard what lies in their areas.
// Nothing here keeps state or takes a lock: who calls sees to it that a leg is
// written by one at a time.
//
// # What holds
//
//  1. A torn write never takes the only good superblock: the worse copy is
//     written first, and each is durable before the other is touched. So what a
//     leg can tell never gets older.
//  2. A copy counts only whole, where it was written for, and beside one of the
//     same leg: of two that tell of different legs the older is a remnant.
//  3. What is accepted can be worked with: each size is within its bounds, the
//     areas lie within the leg, apart, and have room for what they are for. So
//     nothing that a leg holds can crash the program, or make it allocate without
//     bound (H12).
//  4. What this program does not know of is kept when a superblock is rewritten,
//     or refused: features say which.
//  5. A block of the region log counts only as its own pool's, at its own index
//     and in its own slot. Versions that follow each other lie in different slots,
//     so that a write that is torn leaves the version before.
//
// # Fault model
//
// A device may fail any read, write or flush, may lose in a crash, sector by
// sector, what was not flushed, and may hold any bytes at all where a superblock
// or a log block should be. Checksums are CRC-32C, which find accidents: a forged
// block is believed, and does no more harm than 3 allows.
package ondisk
