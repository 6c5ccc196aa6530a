package nbd

import "io"

// input is the read side of a connection: a buffer whose unread bytes are
// buf[r:w]. It belongs to the reader.
type input struct {
	src  io.Reader
	buf  []byte
	r, w int
}

// buffered returns how many bytes can be taken without reading.
func (in *input) buffered() int { return in.w - in.r }

// grow makes room for n bytes in all, keeping the unread ones.
func (in *input) grow(n int) {
	if n <= len(in.buf) {
		return
	}
	buf := make([]byte, n)
	in.w = copy(buf, in.buf[in.r:in.w])
	in.r, in.buf = 0, buf
}

// fill reads until n bytes are buffered in one piece; n is at most len(buf).
// It fails with io.EOF if the stream ends and nothing is buffered, and with
// io.ErrUnexpectedEOF if something is.
func (in *input) fill(n int) error {
	if in.r == in.w {
		in.r, in.w = 0, 0
	}
	if in.r+n > len(in.buf) {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	for in.w-in.r < n {
		got, err := in.src.Read(in.buf[in.w:])
		in.w += got
		if err != nil && in.w-in.r < n {
			if err == io.EOF && in.w > in.r {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// take returns the next n bytes, which must be buffered. They are valid until
// the next fill, discard or readInto.
func (in *input) take(n int) []byte {
	p := in.buf[in.r : in.r+n]
	in.r += n
	return p
}

// readInto fills p from the buffer and, without a detour, from the stream.
func (in *input) readInto(p []byte) error {
	n := copy(p, in.buf[in.r:in.w])
	in.r += n
	_, err := io.ReadFull(in.src, p[n:])
	return midMessage(err)
}

// discard throws the next n bytes away.
func (in *input) discard(n int64) error {
	for {
		skip := min(n, int64(in.buffered()))
		in.r += int(skip)
		n -= skip
		if n == 0 {
			return nil
		}
		in.r, in.w = 0, 0
		got, err := in.src.Read(in.buf)
		in.w = got
		if err != nil && int64(got) < n {
			return midMessage(err)
		}
	}
}

// midMessage tells an end of the stream inside a message from one between two.
func midMessage(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
