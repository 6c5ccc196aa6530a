package cache

import (
	"holdfast.dev/holdfast/internal/mutant"
	"holdfast.dev/holdfast/internal/seam"
)

// errseq remembers the last write-out error of a mapping and how many there
// were, so that each watcher is told of it once (Linux: lib/errseq.c).
type errseq struct {
	mu seam.Mutex
	// Guarded by mu.
	seq  uint64
	err  error
	seen bool // somebody was told of err
}

// cursor is what a watcher has been told up to.
type cursor uint64

// set records an error.
func (e *errseq) set(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seq++
	e.err = err
	e.seen = false
}

// sample returns a cursor for a watcher who comes now. An error that nobody has
// been told of yet is for him as well.
func (e *errseq) sample() cursor {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil && !e.seen {
		return cursor(e.seq - 1)
	}
	return cursor(e.seq)
}

// check returns the last error if the watcher has not been told of it, and
// moves his cursor.
func (e *errseq) check(c *cursor) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if *c == cursor(e.seq) || mutant.On(mutant.ErrorToldOnce) && e.seen {
		return nil
	}
	*c = cursor(e.seq)
	e.seen = true
	return e.err
}

// last returns the last error, told or not.
func (e *errseq) last() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}
