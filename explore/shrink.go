//go:build explore

package explore

// shrink returns a schedule that finds something too and makes no choice that it
// could do without, as far as leaving out one or two at a time tells.
func shrink(sc *Scenario, s Schedule) Schedule {
	for again := true; again; {
		again = false
		for size := 1; size <= 2 && !again; size++ {
			for i := 0; i+size <= len(s.deviations); i++ {
				d := append(append([]deviation(nil), s.deviations[:i]...), s.deviations[i+size:]...)
				p := &plan{deviations: d}
				if x := execute(sc, p, nil); x.found != nil && !p.unmet() {
					s.deviations, s.print, again = d, x.print, true
					break
				}
			}
		}
	}
	return s
}
