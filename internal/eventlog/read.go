package eventlog

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"
)

// pollPeriod is how often a reader that follows looks for what is new.
const pollPeriod = 200 * time.Millisecond

// Read returns the events kept in dir, oldest first. With follow it goes on with
// those to come, until ctx is done. An error ends it.
func Read(ctx context.Context, dir string, follow bool) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		r := &reader{dir: dir, follow: follow, yield: yield}
		defer r.close()
		if err := r.read(ctx); err != nil && !r.ended {
			yield(Event{}, err)
		}
	}
}

// reader reads the two files in turn, and what takes their place.
type reader struct {
	dir    string
	follow bool
	yield  func(Event, error) bool
	ended  bool // the caller wants no more

	f    *os.File
	in   *bufio.Reader
	part []byte // of a line whose end is not there yet
	long bool   // it is longer than a line may be
}

func (r *reader) read(ctx context.Context) error {
	older, err := r.begin()
	if err != nil {
		return err
	}
	if older != nil {
		current := r.f
		r.use(older)
		err := r.lines()
		older.Close()
		r.use(current)
		if err != nil || r.ended {
			return err
		}
	}
	for {
		if err := r.lines(); err != nil || r.ended || !r.follow {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pollPeriod):
		}
		if err := r.renew(); err != nil {
			return err
		}
	}
}

// use goes on with a file, from its beginning; nil is an empty one.
func (r *reader) use(f *os.File) {
	r.f, r.part, r.long = f, nil, false
	if f != nil {
		r.in = bufio.NewReader(f)
	}
}

// begin opens both files, of one moment: there is none between them.
func (r *reader) begin() (older *os.File, err error) {
	for {
		current, err := r.open(Name)
		if err != nil {
			return nil, err
		}
		older, err := r.open(olderName)
		if err == nil && !same(current, older) {
			r.use(current)
			return older, nil
		}
		for _, f := range []*os.File{current, older} {
			if f != nil {
				f.Close()
			}
		}
		if err != nil {
			return nil, err
		}
	}
}

// open opens a file for reading; one that is not there is nil.
func (r *reader) open(name string) (*os.File, error) {
	f, err := os.Open(filepath.Join(r.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return f, err
}

func same(a, b *os.File) bool {
	if a == nil || b == nil {
		return false
	}
	x, errX := a.Stat()
	y, errY := b.Stat()
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// renew goes on with the file that has taken the place of the one at hand, when
// that is read to its end: nothing is appended to it any more.
func (r *reader) renew() error {
	next, err := r.open(Name)
	if err != nil || next == nil {
		return err
	}
	if same(r.f, next) {
		return next.Close()
	}
	if r.f != nil {
		if err := r.lines(); err != nil || r.ended {
			return errors.Join(err, next.Close())
		}
		r.f.Close()
	}
	r.use(next)
	return nil
}

// lines yields what there is up to the end of the file.
func (r *reader) lines() error {
	if r.f == nil {
		return nil
	}
	for !r.ended {
		b, err := r.in.ReadSlice('\n')
		if len(r.part)+len(b) > lineMost {
			r.part, r.long = r.part[:0], true
		}
		if !r.long {
			r.part = append(r.part, b...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			return nil // its end may come
		case err != nil:
			return fmt.Errorf("reading events: %w", err)
		}
		r.ended = !r.yield(r.event(), nil)
		r.part, r.long = r.part[:0], false
	}
	return nil
}

// event is the line that was read.
func (r *reader) event() (e Event) {
	if r.long || json.Unmarshal(r.part, &e) != nil {
		return Event{Level: "WARN", Kind: Unreadable, Message: "a line of the events is damaged, or was cut off"}
	}
	return e
}

func (r *reader) close() {
	if r.f != nil {
		r.f.Close()
	}
}
