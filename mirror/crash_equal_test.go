package mirror

import (
	"bytes"
	"fmt"

	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// equalLegs checks H3 on the legs themselves, and that a clean close leaves
// nothing to do.
func (c *crash) equalLegs(want []byte) error {
	var in []*leg
	for _, l := range c.m.Status().Legs {
		if l.State != InSync {
			continue
		}
		got := make([]byte, len(want))
		leg := c.m.leg(l.Index)
		if _, err := leg.dev.ReadAt(got, c.m.geo.DataOff()); err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("H3: leg %s differs from what is read", leg.name)
		}
		in = append(in, leg)
	}
	degraded := c.m.Status().Degraded
	if err := c.m.Close(); err != nil {
		return err
	}
	if err := c.equalGuards(in); err != nil {
		return err
	}
	if err := c.openAll(false); err != nil {
		return err
	}
	defer c.m.Abandon()
	if s := c.m.Status(); !degraded && (s.Resync.RegionsLeft != 0 || s.Regions.Clean != crashRegions) {
		return fmt.Errorf("after a clean close: %+v", s)
	}
	return nil
}

// equalGuards checks that the legs of a closed pool hold the same guards.
func (c *crash) equalGuards(legs []*leg) error {
	a := c.m.geo.Areas[ondisk.AreaGuards]
	want, got := make([]byte, a.Len), make([]byte, a.Len)
	for i, l := range legs {
		if _, err := l.dev.ReadAt(got, a.Off); err != nil {
			return err
		}
		if i == 0 {
			copy(want, got)
		} else if !bytes.Equal(got, want) {
			return fmt.Errorf("H3: the guards of legs %s and %s differ", legs[0].name, l.name)
		}
	}
	return nil
}
