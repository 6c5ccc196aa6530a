package deadline

import "holdfast.dev/holdfast/device"

// ReadScattered fills all parts, at most pieceSize bytes in one call.
func (d *Device) ReadScattered(parts []device.Part) error {
	for i := range parts {
		if err := d.check(opReadScattered, parts[i].Off, int64(len(parts[i].P))); err != nil {
			return err
		}
	}
	return d.eachCall(opReadScattered, parts)
}

// WriteScattered writes all parts, at most pieceSize bytes in one call.
func (d *Device) WriteScattered(parts []device.Part) error {
	for i := range parts {
		p := &parts[i]
		if err := d.check(opWriteScattered, p.Off, int64(len(p.P))); err != nil {
			return err
		}
		if p.Sums == nil {
			continue
		}
		if err := device.CheckGuards(p.P, p.Off, p.Sums); err != nil {
			return err
		}
	}
	return d.eachCall(opWriteScattered, parts)
}

// eachCall makes as many calls as parts need.
func (d *Device) eachCall(op opcode, parts []device.Part) error {
	for rest := (scatter{parts: parts}); !rest.empty(); {
		if err := d.doScattered(op, &rest); err != nil {
			return err
		}
	}
	return nil
}

// scatter is parts of which some have been given to calls.
type scatter struct {
	parts []device.Part
	done  int // bytes of the first
}

// empty says whether nothing is left, and passes what is empty.
func (s *scatter) empty() bool {
	for len(s.parts) > 0 && s.done == len(s.parts[0].P) {
		s.parts, s.done = s.parts[1:], 0
	}
	return len(s.parts) == 0
}

// next cuts off what fits into so many bytes of memory, whole pages. Each piece
// begins a page, so that one that may go direct still may.
func (s *scatter) next(room int) (p []byte, off int64, ok bool) {
	if room == 0 || s.empty() {
		return nil, 0, false
	}
	p, off = s.parts[0].P[s.done:], s.parts[0].Off+int64(s.done)
	if most := room - int(off%pageSize); len(p) > most {
		p = p[:most]
	}
	s.done += len(p)
	return p, off, true
}

// pages is the memory in bytes that a piece takes.
func pages(n int) int { return (n + pageSize - 1) &^ (pageSize - 1) }

// doScattered makes one call for as much of the rest as fits.
func (d *Device) doScattered(op opcode, rest *scatter) error {
	c, err := d.enter(false)
	if err != nil {
		return d.fail(op, rest.parts[0].Off, int64(len(rest.parts[0].P)), err)
	}
	size := 0
	for ahead := *rest; ; {
		p, _, ok := ahead.next(pieceSize - size)
		if !ok {
			break
		}
		size += pages(len(p))
	}
	c.op, c.buf = op, newBuffer(size)
	mine, at, total := *rest, 0, 0
	for {
		p, off, ok := rest.next(pieceSize - at)
		if !ok {
			break
		}
		mem := c.buf.mem[at : at+len(p)]
		if op == opWriteScattered {
			copy(mem, p)
		}
		c.parts = append(c.parts, device.Part{P: mem, Off: off})
		at += pages(len(p))
		total += len(p)
	}
	first := c.parts[0].Off
	if err := d.send(c); err != nil {
		return d.fail(op, first, int64(total), err)
	}
	if err = c.err; err == nil && op == opReadScattered {
		mine.fill(c.parts)
	}
	d.release(c)
	return err
}

// fill copies to the first pieces what was read for them.
func (s *scatter) fill(read []device.Part) {
	at := 0
	for i := range read {
		p, _, _ := s.next(pieceSize - at)
		at += pages(copy(p, read[i].P))
	}
}

var _ device.Scattered = (*Device)(nil)
