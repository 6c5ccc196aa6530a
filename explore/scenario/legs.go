//go:build explore

package scenario

import (
	"math/rand/v2"

	"holdfast.dev/holdfast/device/powercut"
	"holdfast.dev/holdfast/mirror"
)

// cycle is a round of the helper that clears regions.
func (h *house) cycle() {
	h.x.Note("begins a round")
	h.failed("a round", h.mirror.Cycle())
	h.x.Note("  ends the round")
}

// resyncAll makes the legs equal where they may differ.
func (h *house) resyncAll() {
	h.x.Note("resyncs")
	h.resync()
	h.x.Note("  resynced")
}

// scrub reads all that the legs have.
func (h *house) scrub() {
	h.x.Note("scrubs")
	h.failed("a scrub", h.mirror.Scrub(mirror.ScrubOptions{}))
	if st := h.mirror.Status(); st.Scrub.Bad > 0 && !h.supply.Lost() {
		h.x.Fail("H5: a scrub finds %d blocks bad", st.Scrub.Bad)
	}
	h.x.Note("  scrubbed")
}

// takeOut takes a leg out of use, with all that it holds.
func (h *house) takeOut(leg int) {
	d := h.disks[leg]
	must(h.mirror.Fail(d.Name()))
	h.away = true
	h.x.Note("%s is taken out", d.Name())
	h.disks[leg] = d.Survivor(h.supply, rand.New(rand.NewPCG(1, 0)), powercut.Everything)
}

// lose takes the first leg away for good, in a crash.
func (h *house) lose() {
	h.x.Note("leg 0 is lost for good")
	h.without = []string{h.mirror.Status().Legs[0].UUID}
	h.supply.Cut()
	h.disks = h.disks[1:]
}

// attach brings a leg back that was taken out.
func (h *house) attach(leg int) {
	h.x.Note("attaches leg %d", leg)
	h.rejoin(func() {
		h.failed("to attach", h.mirror.Attach(h.legs()[leg], false))
		h.resyncAll()
	})
}

// rejoin has legs come back, for which no region is looked at that they have.
func (h *house) rejoin(come func()) {
	before := h.mirror.Status().Resync.RegionsDone
	come()
	done := int64(h.mirror.Status().Resync.RegionsDone - before)
	if most := h.regionsTouched(); done > most {
		h.x.Fail("H10: %d regions are copied to legs that come back, and %d were ever written to", done, most)
	}
}

// attachFailed brings back the legs that have failed.
func (h *house) attachFailed() {
	h.rejoin(func() {
		for _, l := range h.mirror.Status().Legs {
			if l.State == mirror.Failed {
				h.x.Note("attaches %s", l.Name)
				h.failed("to attach", h.mirror.Attach(mirror.Leg{Name: l.Name}, false))
			}
		}
		h.resync()
	})
}
