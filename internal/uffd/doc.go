// Package uffd serves the page faults of another process: a thin layer over
// userfaultfd(2), for shared mappings of a memfd.
//
// A process that wants its accesses served calls Create, registers a mapping,
// and sends the descriptor over a Unix socket. The one that serves calls Adopt,
// reads faults, and answers each: Continue maps the pages that the memfd has,
// Unprotect lets a store through, Poison makes the access a SIGBUS. Protect takes
// write access away again, so that the next store is a fault. A page leaves the
// process when a hole is punched into the memfd. An answer may cover a run of
// pages around the fault.
//
// In the mode Async the kernel lifts the protection itself, and nobody waits. Who
// serves has the process's page map (/proc/self/pagemap) too, and Stored finds what
// was stored to since it was last protected, and protects it again. Pages still
// come in through faults that wait.
//
// # Never in the process that faults
//
// A Go thread that faults inside memmove, or in any load or store, cannot be
// preempted. A handler in the same process that needs the collector waits for
// that thread to stop, and the thread for the handler: neither ever moves again.
// ReadFaults therefore refuses to read from what Create made. A thread that
// waits holds its processor (GOMAXPROCS) until it is served.
//
// # Kernels
//
// What is asked for is one fixed set of features, found by asking the kernel and
// not by its version; Create names those that are lacking.
//
//	5.19  write-protection of shared memory; missing and minor faults, exact
//	      addresses and thread numbers are older
//	6.1   /dev/userfaultfd: a file mode says who may have the kernel's faults
//	6.4   UFFDIO_CONTINUE_MODE_WP: a page is protected from the moment it is
//	      mapped. It has no bit of its own; WP_UNPOPULATED came with it. Without
//	      it CONTINUE maps writable, also where the range was write-protected
//	      before, and a store can go through before it is protected.
//	6.6   UFFDIO_POISON: an access is refused without the process being ended
//	6.7   WP_ASYNC and PAGEMAP_SCAN, for the mode Async alone
//	6.10  reads that do not wait whatever the description's flags are
//
// So memory is served from Linux 6.6 on, or where a distribution has brought
// these back.
//
// # Invariants
//
//  1. A descriptor that was adopted is a userfaultfd with exactly the features
//     of Create, which cannot be changed any more.
//  2. No operation uses the descriptor's number after the descriptor is closed.
//  3. When Protect has returned nil, no store with the old access can happen.
//  4. A store in the mode Async that happens before Stored begins is found by it,
//     or was by an earlier call, whatever became of its page since; or Stored
//     fails. That holds as long as no page is mapped while Stored runs.
//  5. No operation makes a page writable but Continue without protection, and
//     Unprotect.
//
// # Fault model
//
// The process at the other end is not trusted. If it has ended, operations
// return ErrGone. If it has unmapped or replaced memory, ErrNotRegistered: an
// operation may then have been done to a part of its range, and what it mapped
// instead is not seen here. If it never lets an operation succeed, ErrBusy. It
// can hold up an operation for as long as it keeps its own address space locked,
// which a file system of its own making lets it do; the kernel offers no way to
// give up, so a caller that must be done in time leaves the operation to a
// goroutine that it can do without. Close waits for nobody. Before Linux 6.10 a
// process can make ReadFaults wait in the kernel, where Close does not reach it,
// until the next fault.
//
// It can also fork: the child has the mapping without the userfaultfd, and reads
// holes as zeros. A client asks for MADV_DONTFORK.
//
// The interface is that of include/uapi/linux/userfaultfd.h (Linux 6.6) and
// Documentation/admin-guide/mm/userfaultfd.rst.
package uffd
