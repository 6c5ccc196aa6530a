//go:build explore

package scenario

import "holdfast.dev/holdfast/explore"

// A leg fails in the midst of writes and a sync, at any operation. The other goes on
// alone, and everything that is acknowledged from then on only that one has. After the
// crash both are there again, and the one that failed says of itself, truly as far as
// it knows, that it is in sync. It must not be believed: the other's superblock is
// newer, and knows better. When it is attached it gets what it missed.
var legFails = scenario("leg-fails",
	"A leg fails beside writes and a sync; after the crash it is back with an older superblock.",
	plan{legs: 2, pages: 4, bare: true, faults: true, less: 1},
	func(h *house) {
		h.x.Calm(func() { h.write(1, 'A'); h.mustSync() })
		h.x.Together(
			explore.Task{Name: "program", Do: func() { h.write(1, 'B'); h.mustSync() }},
			explore.Task{Name: "helper", Do: h.cycle},
		)
		h.crash()
	})

// The same with a journal and guards: a leg may fail while room is made in the ring,
// or while it is replayed.
var legFailsJournal = scenario("leg-fails-journal",
	"A leg fails beside syncs that go to the journal, and a checkpoint.",
	plan{legs: 2, pages: 4, ring: smallRing, faults: true, less: 1},
	func(h *house) {
		h.x.Calm(func() { h.write(1, 'A'); h.mustSync() })
		h.x.Together(
			explore.Task{Name: "program", Do: func() { h.write(1, 'B'); h.mustSync() }},
			explore.Task{Name: "checkpoint", Do: h.checkpoint},
		)
		h.crash()
	})
