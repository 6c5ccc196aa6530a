//go:build explore

package scenario

import "holdfast.dev/holdfast/explore"

// A crash has left the legs different, as the region log says. They are made equal
// while a program writes there, and a round of the helper may clear what is equal, but
// not before.
var resyncBeside = scenario("resync-beside",
	"Regions are made equal after a crash, beside writes and a round of the helper.",
	plan{legs: 2, pages: threeRegions},
	func(h *house) {
		h.x.Calm(func() {
			h.write(1, 'A')
			h.write(farPage, 'B')
			h.cache.Tick()
			h.crashInto(leftOnFirst)
		})
		h.x.Together(
			explore.Task{Name: "resync", Do: func() { h.resyncAll(); h.cycle() }},
			explore.Task{Name: "program", Do: func() { h.write(1, 'C'); h.mustSync(); h.read(farPage) }},
		)
		h.crash()
	})

// The power fails while two regions are written, and once more while they are made
// equal. What the second opening has to do is what the first had left.
var resyncCut = scenario("resync-cut",
	"The power fails while two regions are written, and again while they are made equal.",
	plan{legs: 2, pages: threeRegions, cuts: true, again: true},
	func(h *house) {
		h.write(1, 'A')
		h.write(farPage, 'B')
		h.cache.Tick()
		h.cycle()
		h.write(1, 'C')
		h.mustSync()
		h.crash()
	})

// A leg was away and comes back while a program writes and syncs: it gets what it
// missed, and from when it is let in all that is written, and is in sync only then.
var attachBeside = scenario("attach-beside",
	"A leg comes back that missed writes, beside writes and a sync.",
	plan{legs: 2, pages: threeRegions, ring: smallRing, less: 1},
	func(h *house) {
		h.x.Calm(h.missWrites)
		h.x.Together(
			explore.Task{Name: "program", Do: func() { h.write(1, 'C'); h.mustSync() }},
			explore.Task{Name: "keeper", Do: func() { h.attach(1) }},
		)
		h.crash()
	})

// The power fails anywhere while the leg is let in and filled. Afterwards it is out
// still, or joining, and never taken for what it was: of what is read nothing comes
// from it that it has missed.
var attachCut = scenario("attach-cut",
	"The power fails while a leg comes back that missed writes.",
	plan{legs: 2, pages: threeRegions, ring: smallRing, cuts: true},
	func(h *house) {
		h.x.Calm(h.missWrites)
		h.attach(1)
		h.write(1, 'C')
		h.mustSync()
		h.crash()
	})

// When the leg that came back is in sync the other is lost, in a crash. So the one has
// everything, of the journal too.
var attachAlone = scenario("attach-alone",
	"A leg comes back beside writes and a sync, and then the other is lost.",
	plan{legs: 2, pages: threeRegions, ring: smallRing},
	func(h *house) {
		h.x.Calm(h.missWrites)
		h.x.Together(
			explore.Task{Name: "program", Do: func() { h.write(1, 'C'); h.mustSync() }},
			explore.Task{Name: "keeper", Do: func() { h.attach(1) }},
		)
		h.lose()
		h.crash()
	})

// missWrites takes a leg out of use, writes what it misses, and leaves some of it in the
// journal.
func (h *house) missWrites() {
	h.write(1, 'A')
	h.mustSync()
	h.takeOut(1)
	h.write(farPage, 'B')
	h.cache.Tick()
	h.cycle() // which clears nothing: that is what remembers
	h.write(1, 'B')
	h.mustSync()
}

// All that the legs hold is read and compared while a program writes it, by the
// journal and home: on sound disks nothing is ever found wrong.
var scrubBeside = scenario("scrub-beside",
	"A scrub reads all legs beside writes, a sync and a checkpoint.",
	plan{legs: 2, pages: 4, ring: smallRing, less: 1},
	func(h *house) {
		h.x.Calm(func() { h.write(1, 'A'); h.mustSync() })
		h.x.Together(
			explore.Task{Name: "scrub", Do: h.scrub},
			explore.Task{Name: "program", Do: func() { h.write(1, 'B'); h.mustSync() }},
			explore.Task{Name: "checkpoint", Do: h.checkpoint},
		)
		h.crash()
	})
