package device

import "io"

// Scattered is implemented by devices that can move scattered parts cheaper
// together than one by one.
type Scattered interface {
	// ReadScattered fills all parts, which come without sums, in any order. After an
	// error it is not known which are filled, and nothing has been healed that could
	// be: who wants that, or to know which can be read, reads each by itself.
	ReadScattered(parts []Part) error
	// WriteScattered writes all parts, in any order. They do not overlap. After an
	// error any of them may have been written, whole or in part; otherwise what is
	// true of WriteAt, or of WriteGuarded for parts with sums, is true of each.
	WriteScattered(parts []Part) error
}

// ReadScattered fills all parts from d: by its own means if d is Scattered,
// otherwise one by one.
func ReadScattered(d Device, parts []Part) error {
	if s, ok := d.(Scattered); ok {
		return s.ReadScattered(parts)
	}
	for i := range parts {
		if err := ReadPart(d, &parts[i]); err != nil {
			return err
		}
	}
	return nil
}

// ReadPart fills one part from d.
func ReadPart(d Device, p *Part) error {
	n, err := d.ReadAt(p.P, p.Off)
	if err == nil && n < len(p.P) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// WriteScattered writes all parts to d: by its own means if d is Scattered,
// otherwise one by one.
func WriteScattered(d Device, parts []Part) error {
	if s, ok := d.(Scattered); ok {
		return s.WriteScattered(parts)
	}
	for i := range parts {
		if err := WritePart(d, &parts[i]); err != nil {
			return err
		}
	}
	return nil
}

// WritePart writes one part to d.
func WritePart(d Device, p *Part) error {
	if p.Sums != nil {
		return WriteGuarded(d, p.P, p.Off, p.Sums)
	}
	n, err := d.WriteAt(p.P, p.Off)
	if err == nil && n < len(p.P) {
		err = io.ErrShortWrite
	}
	return err
}
