//go:build explore

package scenario

import "holdfast.dev/holdfast/explore"

// A program has a page mapped and stores to it; another writes parts of the same page
// and, for the sake of an order of its own, has them written out by itself. The page's
// write-out writes "the parts of the page that have been explicitly marked dirty before,
// and that had not got written out for other reasons since the last time we told it they
// were dirty". What the program stored has to be among them, whenever it stored it: the
// last store is in the program's page table only, and has to be moved to the page before
// the write-out.
var (
	mapped2006      = mappedParts("mapped-2006", false)
	mapped2006Async = mappedParts("mapped-2006-async", true)
)

func mappedParts(name string, async bool) *explore.Scenario {
	return scenario(name,
		"Parts of a mapped page are written out by their writer, who knows nothing of the stores (2006).",
		plan{pages: 2},
		func(h *house) {
			h.write(1, 'A')
			var program *process
			h.x.Calm(func() {
				h.mustSync()
				program = h.process(async)
				program.load(1)
			})
			h.x.Together(
				explore.Task{Name: "program", Do: func() {
					h.failed("a store", program.store(8, 4, 'B'))
					h.failed("a store", program.store(8, 2, 'C'))
				}},
				explore.Task{Name: "journal", Do: func() {
					h.writeSectors(14, 2, 'J')
					h.writeOut(1)
				}},
			)
			h.x.Calm(func() {
				program.load(1)
				h.mustSync()
				h.crash()
			})
		})
}
