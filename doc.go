// Package holdfast is a block volume that lives in user space: a page cache in
// front of a mirror of legs. Pages hold still while they are written, so the
// copies of a mirror cannot drift apart, and a sync that says yes means it.
//
// A pool is a directory with holdfast.toml in it. It names the legs, one to four
// files or block devices that all hold the same bytes. Volumes are named parts of
// a pool. A program that has a pool open reads and writes its volumes directly,
// and can serve them over NBD to virtual machines, to the Linux kernel, and to
// any tool built on libnbd. The command holdfast does the same from a shell.
//
//	err := holdfast.Create("data", holdfast.CreateOptions{
//		Legs: []string{"/disk1/a.img", "/disk2/b.img"},
//		Size: 4 << 30,
//	})
//	pool, err := holdfast.Open("data", holdfast.Options{})
//	v, err := pool.Volume("main")
//	_, err = v.WriteAt(page, 0)
//	err = v.Sync()
//	err = pool.Close()
//
// # What is promised
//
//   - What was written by a call that returned before a Sync began is durable
//     when that Sync returns nil, and survives any crash after it.
//   - After a crash each 512-byte sector reads as some version that was written
//     to it, none older than the last Sync that covered it.
//   - After a crash the legs are made equal again, region by region, in the
//     background, while the volumes are used. How much that takes follows what
//     was being written, not the size of the pool. A read meanwhile gives what
//     every later read gives.
//   - A page whose write-out fails stays in memory and is tried again. Each
//     Volume, and each NBD connection, is told of it once, by its next sync.
//   - What is stored through a pin, or by a process that has the volume mapped,
//     is part of it at once, and durable after the next Sync; whatever is stored
//     while a page is being written out, the legs get the same bytes.
//   - If a leg fails the others do its work, and a leg that missed writes is not
//     used again as if it had not.
//   - A leg that does not answer within its deadline fails what it was asked; no
//     call waits for it any longer.
//   - Memory stays within the budget; whoever writes faster than the legs take
//     it is slowed, not failed.
//   - Nothing that a client sends, and nothing that a leg, a socket or
//     holdfast.toml holds, can crash the process.
//
// # What is not promised
//
//   - What is remembered of errors, scrubs and events is no part of any promise: it
//     lies in the pool's directory, and a power cut may cost the last few seconds.
//   - There is no encryption and no password. A Unix socket is its owner's alone;
//     whoever reaches a TCP address can read and write every volume.
//   - A volume's size is fixed, and it owns its space in the pool from the start.
//     A leg in a sparse file can still run out of disk beneath it; that is an
//     error of that leg.
//   - Linux only, 5.19 or later.
//
// # Where to read on
//
// Data flows down through nbd or attach, cache, volume, mirror and device, each a
// package whose comment states its invariants, its lock order and its fault
// model. A package knows only the one beneath it; this one puts them together
// (floors, Pool) and answers the region log's questions about what the cache
// holds (owner).
package holdfast
