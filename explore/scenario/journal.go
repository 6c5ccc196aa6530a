//go:build explore

package scenario

import "holdfast.dev/holdfast/explore"

// smallRing is the smallest journal: four small syncs fill it.
const smallRing = 10 << 12

// checkpoint has all that is in the journal taken home.
func (h *house) checkpoint() {
	h.x.Note("takes home what is in the journal")
	h.failed("a checkpoint", h.mirror.Checkpoint())
	h.x.Note("  it is home")
}

// A small sync has put a version of a page into the journal. Then the flusher writes a
// newer one, which is nothing for the journal, and a sync acknowledges that. Whatever
// the power leaves, replay must not put the older one over it: so where the journal
// holds something of a page, the newer version goes there too, unless a checkpoint has
// taken the older one home, for good, before.
var journalNewer = scenario("journal-newer",
	"A page is written home of which the journal has an older version.",
	plan{legs: 2, pages: 4, ring: smallRing},
	func(h *house) {
		h.write(1, 'A')
		h.mustSync()
		h.x.Together(
			explore.Task{Name: "program", Do: func() { h.write(1, 'B'); h.cache.Tick(); h.mustSync() }},
			explore.Task{Name: "checkpoint", Do: h.checkpoint},
		)
		h.crash()
	})

// Two programs sync a page each, so that two transactions go to the journal, in any
// order, and share flushes or not. The power fails anywhere.
var journalCut = scenario("journal-cut",
	"The power fails while two programs sync by the journal.",
	plan{legs: 2, pages: 4, ring: smallRing, cuts: true, less: 1},
	func(h *house) {
		h.x.Together(
			explore.Task{Name: "first", Do: func() { h.write(1, 'A'); h.mustSync() }},
			explore.Task{Name: "second", Do: func() { h.write(2, 'B'); h.mustSync() }},
		)
		h.crash()
	})

// The power fails in a sync, and once more while what is left of the journal is made
// level and replayed: so what the first left on one leg only must not be half at home
// after the second.
var journalTwice = scenario("journal-twice",
	"The power fails while a program syncs by the journal, and again while that is replayed.",
	plan{legs: 2, pages: 4, ring: smallRing, cuts: true, again: true, less: 1},
	func(h *house) {
		h.x.Calm(func() { h.write(1, 'A'); h.mustSync() })
		h.write(1, 'B')
		h.write(2, 'C')
		h.mustSync()
		h.crash()
	})

// The journal is full, so that a sync has to make room first, or finds it made. What
// is taken home is at home on both legs before the journal forgets it, and nothing
// that is forgotten comes back.
var journalRoom = scenario("journal-room",
	"The power fails while a sync makes room in the journal beside a checkpoint.",
	plan{legs: 2, pages: 4, ring: smallRing, cuts: true, less: 1},
	func(h *house) {
		h.x.Calm(func() {
			for _, version := range []byte("ABCD") {
				h.write(1, version)
				h.mustSync()
			}
		})
		h.x.Together(
			explore.Task{Name: "program", Do: func() { h.write(1, 'E'); h.mustSync(); h.write(2, 'F'); h.mustSync() }},
			explore.Task{Name: "checkpoint", Do: h.checkpoint},
		)
		h.crash()
	})
