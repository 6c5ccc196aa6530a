// Package attach maps volumes into the memory of other processes, with a pager
// that announces every store to the cache before it happens, or finds it before
// anything is decided without it.
//
// It has both sides: Server, which a Holdfast server runs, and Client, for the
// programs that map. A client in C is in the folder c, and the protocol below is
// all that another language needs.
//
// # How it works
//
// A window is a range of a volume in the memory of a client. It is a mapping of
// the very memory in which the cache has the volume's pages (a memfd), watched
// by a userfaultfd(2), of which the server holds a copy. A load from a page that
// is not mapped makes the client's thread wait, until the server has brought the
// page in and mapped it without write access, with neighbours that are in memory
// already. A store to such a page waits again: the cache asks the page's owner,
// marks the page dirty and mapped writable, and only then does the server give
// access. Before a page is written out the cache has write access taken away
// (Protect), so the next store is announced again.
//
// Faults are never served by the process that has them. A Go thread that faults
// inside copy cannot be preempted, so a pager in the same process and the
// collector would wait for each other for ever.
//
// # The asynchronous mode
//
// Where the volume's owner has nothing to refuse (cache.SpaceOwner) no store has to
// be asked for. Then the kernel lifts the write protection by itself, which takes
// a microsecond (Linux 6.7), and the server, which has the client's page map,
// finds what was stored to and protects it again in one scan (PAGEMAP_SCAN):
// before each sync, write-out and decision of the region log, before a page leaves
// memory, when the window ends, and once in each interval of the cache's flusher,
// so that a store is known after a second at most. Pages still come in by faults,
// mapped without write access; a store to one that is not mapped is known, and
// waits for the dirty limit, as in the other mode.
//
// It is chosen by itself for windows that are stored to; the client may insist on
// it or forbid it, the server forbid it (Options.Announced). While such a window
// is there nothing can be held (cache.ErrAsync), and where something is held the
// other mode is chosen. A volume may have windows of both kinds.
//
// What a page table has lost (a page that the kernel swapped out or the client
// dropped) counts as stored to unless its mark of protection is there. So does all
// that was mapped in an address space that cannot be searched any more, such as
// that of a client that was killed: its pages that are in memory are written out
// once more, which needs no reading and cannot err. A page leaves such a window
// by a hole punch, over which a pipe keeps its last bytes (cache/takeout.go). A
// window ends that way too: its pages are taken out of the client, for loads as
// well. Only those stay that somebody else has pinned, until the client unmaps
// them; what it stores there is like a store behind the server's back.
//
// # Invariants
//
//  1. Write access is given under the page's lock in the cache, to pages that the
//     cache counts as dirty and mapped writable. When Protect returns nobody in
//     the window can store to the pages, or the client has been detached. In the
//     asynchronous mode: what was stored before Collect is told by it or was told
//     before. A window is searched wherever a page of it was ever mapped.
//  2. An access that is refused fails at that instruction (SIGBUS, or EFAULT in
//     a system call), changes no byte, and takes nothing from other pages or other
//     clients. A later access is asked afresh.
//  3. No client can make a call of the cache wait longer than Options.Patience,
//     nor make the server hold more than limits.go adds up.
//  4. What a client has stored is the server's, however the client ends.
//  5. No client reads a page that was not served: while no server serves it, it
//     waits, and then it fails.
//
// # Refusal
//
// The kernel makes a page fail (UFFDIO_POISON) only where the page table has
// nothing at all, and a store faults where the page is mapped for reading. Only
// punching the memory takes a page out of another process. So the cache withdraws
// the page: under its lock it copies the page, punches it, and copies it back;
// the server drops what the kernel left in the page table of the write
// protection, and puts the poison there. Nobody can map the page in between.
//
// A poisoned page fails for loads too. So the server offers it again after a
// moment (healFirst), without write access; if it cannot be read it is tried
// again, at growing intervals. Try does it at once, by dropping the page
// (MADV_DONTNEED). Linux may write a line to the kernel's log for such a SIGBUS,
// as for one that is due to broken memory.
//
// A refusal waits while the page is pinned, by anybody: a pinned page cannot be
// punched, and where it is mapped for reading nothing else makes one access of
// one process fail. A store to it is asked again every few milliseconds (askAgain)
// until the pin ends or the owner agrees. Loads go on meanwhile.
//
// # What a client can do with the memory
//
// The descriptor is that of the volume's whole cache: who may map a part of a
// volume may read what is cached of all of it, and, if the window is for
// storing, change it, without the pager knowing. That is a right that it has
// anyway. It cannot hurt more than its volume's contents: from the first
// attachment on pages are written out from snapshots, and checksums and all legs
// get the same snapshot, so the legs stay equal. Such a store may be lost, as
// nobody announced it; where the cache notices one it is counted
// (WindowStats.Unannounced). In the asynchronous mode it cannot be told from
// others.
//
// The descriptor for a window for reading is opened for reading, and the file's
// mode keeps other users from opening it anew. A process of the server's own
// user, or of root, can do that; it could trace the server as well.
//
// # When the other side goes
//
// If a client ends the kernel frees its memory, the server hears it from the
// socket, and its dirty pages are written out like any other. A client that is
// stopped holds up nobody: page tables are changed without it. One that keeps its
// own address space locked is waited for as long as Options.Patience says, once,
// and then detached.
//
// If the server ends, or detaches a client, faults wait, because the client has
// the userfaultfd open too: otherwise the kernel would answer them with zeros.
// The client's watcher hears it from the socket, replaces the mapping by one of
// an empty file, in which every access is a SIGBUS, and wakes who waits. That
// takes a goroutine that can run. A goroutine that waits in a plain load or store
// is interrupted by the runtime after a moment and gives way, even to the only
// processor (GOMAXPROCS=1). One that waits inside copy, or another routine of the
// runtime, does not. So a Go program cannot help itself if the server ends while
// as many goroutines as there are processors wait inside copy, or while one does
// and the collector has begun to stop the program. The client in C has a thread
// for it and no such limit.
//
// For these clients a server has a guardian: a small process, the server's own
// program started once more, that has descriptors of the mapped volumes' memory
// and of the windows' userfaultfds, and waits. When the server is killed the
// guardian cuts the memory off (a truncation, so that every access is a SIGBUS, in
// all clients), wakes who waits, and ends. Nothing is lost by it: what was synced
// is in the volume, what was not has ended with the server, and the next server
// makes memory of its own. While the server lives the guardian does nothing. It is
// in a session of its own and ignores the signals that stop a server; when the
// server ends by its own will, the cache cuts the memory off, and Server.Close has
// the guardian wake who waits and end. A guardian that ends or is stuck is
// replaced by the server, which says so in its log.
//
// There is a guardian if the server's program calls RunGuardian, from the first
// window on. There is none for a moment after one was killed, nor for a client
// that is detached while the server goes on; and what kills server and guardian at
// once leaves nobody. Then such a program hangs, and has to be killed. Where that
// matters, leave processors over and copy through loops of plain loads and
// stores, or map in a process of its own.
//
// Forked children do not have the memory (MADV_DONTFORK): nobody would serve
// their faults.
//
// # Errors
//
// Use Try around code that touches the memory:
//
//	err := attach.Try(func() { copy(m.Bytes()[off:], p) })
//	if errors.Is(err, attach.ErrRefused) {
//		// The volume's owner has no room for the page. No byte from there
//		// on has changed.
//	}
//
// # Protocol
//
// A Unix socket of type SOCK_SEQPACKET; every packet is one message of 128 bytes.
// Integers are little-endian and unsigned.
//
//	 0  4  magic     the bytes HFMT
//	 4  2  version   1
//	 6  2  kind      of the request; a reply has 0x8000 more
//	 8  8  id        chosen by the client; the reply has the same
//	16  4  status    of a reply
//	20  4  flags
//	24  8  window
//	32  8  off       bytes
//	40  8  n         bytes
//	48  8  addr
//	56  8  zero
//	64 64  text      padded with zero bytes
//
// Fields that a request does not use are zero. Requests are answered in any
// order. Status is 0 for success, 1 access denied, 2 no such volume, 3 invalid, 4
// failed, 5 closed, 6 no space, 7 refused, 8 no asynchronous mode; the text may
// say more. The requests:
//
//	1 hello   must be the first. Denied clients are told, and hung up on.
//	2 map     text: the volume; off and n: the range, in whole pages, n = 0 to the
//	          end; flags: 1 to store too; then also 2 if the client can do with the
//	          asynchronous mode, 4 if with no other. The reply has the window's
//	          number, the range, in flags 2 if the mode is asynchronous, and with it
//	          comes a descriptor of the memory (SCM_RIGHTS).
//	          The client maps it at off: shared if it is to store; private and
//	          for reading otherwise, since the kernel does not watch a shared
//	          mapping of a descriptor for reading.
//	3 serve   window; addr: where the memory is mapped; with a userfaultfd
//	          (SCM_RIGHTS) with which all of it is registered, for missing pages,
//	          minor faults and write protection. Its features must be exactly
//	          PAGEFAULT_FLAG_WP, MISSING_SHMEM, THREAD_ID, MINOR_SHMEM,
//	          EXACT_ADDRESS, WP_HUGETLBFS_SHMEM, WP_UNPOPULATED and POISON, and in
//	          the asynchronous mode WP_ASYNC too. It must come soon after the map
//	          request, and once. The client keeps its own copy open while it uses
//	          the memory.
//	4 sync    window; off and n within the window: makes durable what was stored
//	          before in the pages that the range touches.
//	5 advise  window, off and n as for sync; flags: 1 the range will be needed, 3
//	          the window is read sequentially. (2, not needed, is the client's own
//	          affair: MADV_DONTNEED.)
//	6 unmap   window: write access is taken away, and no faults are served any
//	          more. After the reply the client unmaps.
//	7 pin     window, off and n as for sync; flags: 1 to store too. The reply has
//	          the pin's number in addr. A window's pins end with it.
//	8 unpin   window; addr: the pin; flags: 1 if nothing was stored through it
//	          since its pages were last durable.
//	9 pagemap window, one in the asynchronous mode; with /proc/self/pagemap, open
//	          for reading (SCM_RIGHTS). It comes once, before serve.
//
// A request that cannot be done is answered with a status. Whoever breaks the
// protocol (another size or magic, a descriptor that is not expected, a
// userfaultfd that does not fit the window, a store to a window for reading) is
// hung up on. A server that hangs up serves no faults: see above for what a
// client has to do then.
//
// # Locks
//
// A page's lock in the cache, and the lock under which it collects stores, are
// taken before window.access, pager and healer.mu; none of these is held while the
// cache is called. The lock of the set of sessions is taken before session.mu, and
// guard.mu after all others.
package attach
