// Package deadline wraps a block device that may never answer: a call that gets
// no answer in time fails with device.ErrTimeout, and its caller goes on.
//
// # What holds
//
//  1. Every call returns: each piece of it is answered, or given up after at most
//     five quarters of the deadline. Of more than maxCalls at once the rest wait
//     for their turn as long as the device answers, and fail when it is hung.
//  2. No call fails for want of an answer before the deadline has passed.
//  3. A call that was given up never touches its caller's memory again, however
//     late the device comes back to it.
//  4. While a call that was given up is in the device, no other enters: the
//     device counts as hung, and calls fail at once. So a write that is carried
//     out late never undoes one that was asked for after it.
//  5. What is stuck is bounded: at most maxCalls goroutines, as many threads,
//     and a buffer each, of largeSize for maxLarge of them and of pieceSize for
//     the others.
//  6. When the last stuck call has returned, the device is used again.
//
// The device recovers by itself (6) because whoever can do without it has set
// it aside by then, by the error that it was told. Who cannot, such as a mirror
// whose last leg it is, has nothing better than to try again: storage behind a
// network is known to come back after minutes.
//
// # How a call is given up
//
// A goroutine inside a system call cannot be called back. So each call runs in
// a goroutine of its own, and its caller waits for one of two: the answer, or
// the watchdog. The watchdog is one goroutine for each device, which looks a few
// times in each deadline at the calls in flight, so that no call pays for a
// timer or asks for the time. It counts how often it looked rather than how much
// time passed: a process that was stopped, or a machine that slept, wakes with
// its calls no older than they were.
//
// # Why every transfer is copied
//
// The device may fill or send the memory of a call long after it was given up.
// Frames of a cache belong to another page by then, and a read would silently
// destroy it. Lending the caller's memory would spare the copy, but only if
// every layer above kept track of memory that is lent for an unknown time. So a
// call transfers to and from a buffer of its own, which is used again only when
// the device has answered. BenchmarkPaired shows what the copy and the hand-over
// cost: half a microsecond for 4 KiB and some two hundred for 1 MiB, and where one
// caller waits for each answer, the waking of a thread beside it. With several
// transfers in flight on a disk that is a twentieth.
//
// # Why each call has a goroutine
//
// io_uring promises what the goroutine is for: to ask, and then to wait only so
// long. It does not keep it. What a ring is given is begun by the thread that
// gives it, and that may block however the transfer was asked for: on ext4 a
// direct write first notes the time of the change, and waits in io_uring_enter
// for the journal of a disk that hangs, with no timeout running. A ring whose
// every call is handed to a worker of the kernel does not block, and costs as much
// as the goroutine. And the kernel goes on with the calls of a ring when their
// process has been killed and its locks are gone, so that the next owner of a leg
// could be overtaken by a late write of the last one. docs/measured.md has the
// figures.
//
// What many small transfers cost is saved where they come together: ReadScattered and
// WriteScattered take one goroutine for as much as fits a buffer.
//
// # Close
//
// Close waits for calls in flight as they do, and no longer. If some are stuck
// it returns an error, and the goroutine of the last of them closes the device
// beneath when it comes back, if it ever does. Until then the goroutines, the
// descriptor and its lock stay, even beyond the end of the process: Linux does
// not let go of a thread that waits for a disk.
//
// # Fault model
//
// The device beneath may take any time for any call, and may do what it was
// asked at any moment of it. It must not return from a call that it still
// works on.
//
// # Order of locks
//
// Device.mu is the only one, and is never held while the device beneath works.
package deadline
