// Package volume gives names and sizes to parts of a pool: it keeps the table
// of volumes and translates a volume's offsets to the pool's.
//
// The table lives in the first MiB of the device below (the mirror's data
// area), twice. A volume is linear: a list of extents, each a run of the pool.
//
// # Invariants
//
//  1. Extents of volumes never overlap each other or the table, and cover their
//     volume from 0 to its size without a gap.
//  2. An update writes the older copy of the table, flushes, and only then
//     touches the other. So at any moment one copy on the device is whole, and
//     what a copy says was true.
//  3. An update that was acknowledged is in both copies: one of them may rot.
//  4. A volume reads as zeros when it is created: its space is discarded and
//     flushed before the table names it.
//  5. A table that is not understood whole (a later format, an unknown feature,
//     a kind of volume without code here) is refused, never guessed at.
//
// # Lock order
//
//	Table.update   one update of the table at a time, held over device I/O
//	  Table.mu     the table in memory, held for a few instructions
//
// Nothing that the mirror may ask while it does I/O (Spans above all) takes
// Table.update: a write of the table can itself wait for the mirror's region
// log, which asks Spans.
//
// # Reservations
//
// Before a page of a volume first becomes dirty the cache calls Reserve, and
// the volume may refuse with ErrNoSpace: then no byte has changed and the
// writer is told (H8: before a page first becomes dirty its owner has agreed).
// Release says that the page is not dirty any more, once for each Reserve. Both
// are called with a page locked: they must not call back into the cache, nor
// wait for anything that may wait for the cache. Linear volumes own their space
// from the start, so they always agree, and say so beforehand (OwnsSpace): then
// memory may be mapped where stores are not announced.
//
// # Fault model
//
// The device below may cut off an update anywhere (power), fail it, or lose one
// copy later. A copy counts only if its CRC-32C fits. If neither does, Open
// refuses. What a broken device did to data inside a volume is not this
// package's to find.
package volume
