// Package interop shows that programs written by others can use Holdfast, and
// that killing it hurts nobody: its tests start the real holdfast binary and
// drive it with nbdinfo, nbdcopy, nbdsh, qemu-img, qemu-io, fio, the Linux
// kernel's NBD client in a small virtual machine, and a client of their own.
//
// The package has no code outside its tests. It imports no other package of
// Holdfast: what it knows of the server is what a user knows, the command line
// and the protocol.
//
// A test whose programs are missing, or that takes minutes, leaves itself out
// and says why; the list is in build/interop.txt after each run and on the
// terminal of whoever ran go test. With HOLDFAST_INTEROP=1, as in make test,
// nothing is left out: a missing program is a failure.
//
// What the tests show, by the names these promises have elsewhere:
//
//   - H1: an acknowledged flush or FUA write survives a kill after it.
//   - H2: after recovery a block holds a version that was written to it, none
//     older than the last acknowledged flush, and never a mix of two.
//   - H3: after resync the legs are equal.
//   - H4: the bytes that a resync copies follow the dirty regions, not the size
//     of the volume.
//   - H1, H2, and between crashes that all clients see the versions of a sector in
//     one order, in which each begins before its write is acknowledged: a model of
//     one sector, and a checker of linearizability.
//   - H11: memory stays within the budget of the cache.
//
// # Fault model
//
// SIGKILL of the server, and in the kernel's test of the client's machine too; a
// leg whose file system stops answering, and may answer late. What reached the
// operating system stays there: a loss of power is the subject of other tests, on
// simulated disks.
package interop
