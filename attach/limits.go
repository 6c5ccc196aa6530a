package attach

import "time"

const (
	// DefaultMaxClients is how many clients a server has at once, if Options does
	// not say.
	DefaultMaxClients = 64

	// DefaultMaxWindows is how many windows a client has at once, if Options does
	// not say. A window costs the server thirteen goroutines and a descriptor.
	DefaultMaxWindows = 16

	// DefaultHandshakeTimeout is how long a client may take to introduce itself,
	// and to send its userfaultfd after it asked for a window, if Options does not
	// say.
	DefaultHandshakeTimeout = 10 * time.Second

	// DefaultPatience is how long an address space may take to be reached, if
	// Options does not say. It takes microseconds, unless its process holds its
	// own locks; pages are locked meanwhile, which others wait for.
	DefaultPatience = 2 * time.Second

	// sendTimeout is how long a client may leave its replies unread.
	sendTimeout = 5 * time.Second

	// maxWindow is the largest window in bytes: what four levels of page tables
	// leave to a program beside its own needs.
	maxWindow = 1 << 46

	// maxInflight is how many requests of one client are worked on at once. The
	// next ones wait in its socket.
	maxInflight = 32

	// maxDescriptors is how many descriptors are taken out of one message, to be
	// closed if they are not expected; the kernel closes those beyond.
	maxDescriptors = 8

	// faultWorkers is how many faults of a window are served at once, so that one
	// that waits for a disk holds up no others.
	faultWorkers = 8

	// reachWorkers is how many operations on one address space run at once. If it
	// cannot be reached, that many threads are stuck until its process ends.
	reachWorkers = 4

	// faultsMost is how many faults are taken from the kernel at once: the rest
	// is served sooner by another worker.
	faultsMost = 16

	// around is how many pages a read fault maps at the most, if they are in
	// memory: what Linux's fault_around_bytes maps. aroundSequential is for
	// windows that are read sequentially.
	around           = 16
	aroundSequential = 64

	// writeMost is how many pages a write fault opens when stores are
	// sequential. Each of them counts as dirty, stored to or not.
	writeMost = 16

	// writeStreams is how many sequences of stores a window follows at once.
	writeStreams = 4

	// willNeedMost bounds what one WillNeed brings in, in bytes: it is advice, and
	// must not turn the cache over.
	willNeedMost = 64 << 20

	// pinsMost is how many pins a window has at once. How much they pin the cache
	// bounds.
	pinsMost = 256

	// poisonedMost is how many refused pages of a window are looked after. One
	// beyond stays refused until its client drops it.
	poisonedMost = 4096

	// healFirst is when a refused page is offered again, and healLast the longest
	// pause between attempts. The first has to be longer than a thread takes
	// to run into the page that it was woken for; if it is not, it is asked again.
	healFirst = 50 * time.Millisecond
	healLast  = 10 * time.Second

	// askAgain is the pause before a store is asked for again that could not be
	// refused at the moment, so that a pin does not keep a processor busy.
	askAgain = 5 * time.Millisecond

	// guardianPatience is how long a guardian may take for a message. It does next
	// to nothing with one, and can be replaced.
	guardianPatience = time.Second

	// guardianPause is the pause before another guardian is started.
	guardianPause = 100 * time.Millisecond
)
