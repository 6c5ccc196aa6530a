package powercut

import "math/rand/v2"

// Mode says which of the states that a cut may leave are looked at.
type Mode int

const (
	// Mixed is one of the others, chosen at random for each disk. It reaches
	// every state.
	Mixed Mode = iota
	// Sectors keeps or loses each sector of each version on its own.
	Sectors
	// Writes keeps or loses each version whole.
	Writes
	// Nothing loses all that is not durable.
	Nothing
	// Everything keeps all, as if the cut had been a clean stop.
	Everything
	// Last keeps the newest version whole and no other: the disk took them in another
	// order.
	Last
)

// modes is how often Mixed takes each: the extremes find what is simple, and
// the others seldom reach them.
var modes = []Mode{Nothing, Everything, Writes, Writes, Sectors, Sectors, Sectors, Sectors}

// Survivors returns fresh disks, on a supply of their own, with one state each
// that a cut at this moment may leave. The state follows from rng alone, and
// the disks' order is that of Disks.
func (s *Supply) Survivors(rng *rand.Rand, how Mode) []*Disk {
	on := new(Supply)
	for _, d := range s.Disks() {
		d.Survivor(on, rng, how)
	}
	return on.Disks()
}

// Survivor returns a fresh disk on the given supply with one state that a cut
// at this moment may leave.
func (d *Disk) Survivor(on *Supply, rng *rand.Rand, how Mode) *Disk {
	return on.add(d.name, d.size, d.remains(rng, how))
}

func (d *Disk) remains(rng *rand.Rand, how Mode) *store {
	d.supply.mu.Lock()
	defer d.supply.mu.Unlock()
	if how == Mixed {
		how = modes[rng.IntN(len(modes))]
	}
	left := d.durable.clone()
	if how == Nothing {
		return left
	}
	// How much survives is itself left to chance, so that states with nearly
	// all and with nearly nothing come up as well as those in between.
	part := rng.Float64()
	versions := d.versions()
	if how == Last && len(versions) > 0 {
		versions, how = versions[len(versions)-1:], Everything
	}
	for _, v := range versions {
		switch {
		case how == Sectors:
			v.each(left, func(sector int64, data []byte) {
				if rng.Float64() < part {
					left.write(data, sector*sectorSize)
				}
			})
		case how == Everything || rng.Float64() < part:
			v.applyTo(left)
		}
	}
	return left
}

// Unsettled says how many versions may survive besides what is durable.
func (d *Disk) Unsettled() int {
	d.supply.mu.Lock()
	defer d.supply.mu.Unlock()
	return len(d.log) + len(d.inFlight)
}

// versions returns all versions that may survive besides what is durable, in
// order, settled. Requires supply.mu.
func (d *Disk) versions() []*version {
	for _, v := range d.inFlight {
		v.settle(d.view)
	}
	return append(d.log[:len(d.log):len(d.log)], d.inFlight...)
}
