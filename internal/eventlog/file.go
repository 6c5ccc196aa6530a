package eventlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	// Name is the file in the pool's directory, and olderName the one before it.
	Name      = "events.jsonl"
	olderName = "events.1.jsonl"
	// sizeMost in bytes of each of the two is years of a sound pool's life, and
	// some thousands of events of one that is not.
	sizeMost = 1 << 20
	// fileMode lets others read nothing: paths and addresses are in it.
	fileMode = 0o600
)

// file is the file that is appended to. It belongs to one task.
type file struct {
	dir  string
	f    *os.File // nil: to be opened
	size int64
	// failed says that the last attempt failed, and missed how many events that and
	// those before it cost.
	failed bool
	missed int
}

// append writes events and makes them durable. Its error is told once: the next
// attempts that fail return none, until one has succeeded.
func (f *file) append(batch []Event) error {
	if len(batch) == 0 {
		return nil
	}
	if f.missed > 0 {
		batch = append([]Event{leftOut(time.Now(), f.missed, "they could not be written")}, batch...)
	}
	err := f.write(batch)
	if err == nil {
		f.failed, f.missed = false, 0
		return nil
	}
	if f.missed > 0 {
		batch = batch[1:]
	}
	f.missed += len(batch)
	f.close()
	if f.failed {
		return nil
	}
	f.failed = true
	return err
}

func (f *file) write(batch []Event) error {
	var lines bytes.Buffer
	for _, e := range batch {
		b, err := json.Marshal(e)
		if err != nil {
			return err
		}
		lines.Write(append(b, '\n'))
	}
	if err := f.open(); err != nil {
		return err
	}
	if _, err := f.f.WriteAt(lines.Bytes(), f.size); err != nil {
		// Of a batch that failed nothing is left, so that it is counted right.
		return errors.Join(err, f.f.Truncate(f.size))
	}
	if err := f.f.Sync(); err != nil {
		return errors.Join(err, f.f.Truncate(f.size))
	}
	f.size += int64(lines.Len())
	return nil
}

// open opens the file at its end. A line that was cut off there is ended, and a
// file that is long enough makes room for the next.
func (f *file) open() (err error) {
	path := filepath.Join(f.dir, Name)
	if f.f != nil && f.size >= sizeMost {
		f.close()
	}
	if f.f != nil {
		return nil
	}
	if st, err := os.Stat(path); err == nil && st.Size() >= sizeMost {
		if err := os.Rename(path, filepath.Join(f.dir, olderName)); err != nil {
			return fmt.Errorf("making room for events: %w", err)
		}
	}
	if f.f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode); err != nil {
		return err
	}
	st, err := f.f.Stat()
	if err != nil {
		return err
	}
	f.size = st.Size()
	last := []byte{'\n'}
	if f.size > 0 {
		if _, err := f.f.ReadAt(last, f.size-1); err != nil {
			return err
		}
	}
	if last[0] == '\n' {
		return nil
	}
	n, err := f.f.WriteAt([]byte{'\n'}, f.size)
	f.size += int64(n)
	return err
}

// close gives the file up. What it says was written is durable.
func (f *file) close() {
	if f.f != nil {
		f.f.Close()
		f.f = nil
	}
}
