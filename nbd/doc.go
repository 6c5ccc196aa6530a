// Package nbd serves block devices over the NBD protocol, on Unix sockets and
// TCP.
//
// It speaks fixed newstyle with simple and structured replies, as the public
// protocol text (NetworkBlockDevice/nbd, doc/proto.md) describes them, without
// TLS and without extended headers. What it serves is described by the
// interfaces Exports and Export.
//
// # How a connection works
//
// One goroutine, the reader, reads as much as the socket holds into a large
// buffer, takes the requests from it one by one, and answers those that the
// export can serve without waiting (TryReadAt, TryWriteAt) itself. Their
// replies are gathered in a batch, which is written when the input runs dry or
// the batch is full. A request that would wait goes to one of a bounded number
// of workers, so it never delays a request behind it; one of them stays when there
// is nothing to do. Short reads that would wait are done by a few of these, who take
// together what has come while all were busy. Whoever has a reply while nobody writes
// to the socket becomes the writer, and writes what others bring meanwhile.
//
// # Invariants
//
//  1. A write, trim or zeroing is replied to only after the export did it, and
//     one with FUA only after the export made it durable. So a flush, which is
//     the export's Sync, covers every such request that was replied to, on
//     every connection.
//  2. Every request gets exactly one reply (one or more chunks, the last marked
//     as such), or the connection is closed.
//  3. Only WRITE carries a payload, and exactly that payload is taken from the
//     stream whether the request is served or refused.
//  4. A connection holds at most the memory that limits.go adds up, whatever
//     its client sends or fails to read. Lengths from the wire are checked
//     before anything is allocated for them (H12: no bytes from the network can
//     crash the server, make it allocate without bound, or reach what their
//     sender may not touch).
//  5. A request is in flight from its admission until its reply was written or
//     dropped. The export is closed when nothing is in flight.
//  6. The reader flushes its batch before it waits for anything.
//
// # Where the protocol leaves a choice
//
//   - A READ of more than 32 MiB gets EINVAL. A WRITE of more gets EINVAL after
//     its payload was thrown away, if that is at most 64 MiB; beyond, EINVAL and
//     the end of the connection, because staying in step would cost more than
//     it is worth.
//   - FUA is accepted on every command; on those that change nothing it means
//     nothing.
//   - WRITE_ZEROES with FAST_ZERO succeeds where a hole may be made; together
//     with NO_HOLE it gets ENOTSUP and changes nothing.
//   - A structured READ that memory can serve is one chunk of data. One that
//     must wait, and is longer than 16 KiB, shows the holes that the export knows of.
//   - A request of length zero succeeds without asking the export, except
//     BLOCK_STATUS, which must describe something and gets EINVAL.
//   - The first export is the default. Its name and the empty one mean the same
//     wherever an option has a name.
//   - The text of an error never names what lies behind an export.
//
// # Locks
//
// The lock of the set of connections is taken before Server.mu and conn.mu. None
// is held while a socket is read or written or an export is called.
//
// # Faults
//
// A client may send anything, stall at any step, not read its replies, or
// vanish: this costs others nothing, and Shutdown a bounded time. An export may
// fail any call; the client gets the error, the log the details.
package nbd
