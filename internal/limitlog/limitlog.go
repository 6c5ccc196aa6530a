// Package limitlog logs warnings that clients cause, at a rate that is not in
// their hands.
package limitlog

import (
	"log/slog"
	"sync"
	"time"
)

// At most Burst warnings are logged in each window; what is left out is counted
// and told with the next.
const (
	Burst  = 20
	window = 10 * time.Second
)

// Log limits warnings to Out.
type Log struct {
	Out *slog.Logger

	mu struct {
		sync.Mutex
		since  time.Time // when the window began
		lines  int       // logged in it
		missed int       // left out since the last line that was logged
	}
}

// Warn logs a line unless there were too many.
func (l *Log) Warn(msg string, args ...any) {
	l.mu.Lock()
	if now := time.Now(); now.Sub(l.mu.since) >= window {
		l.mu.since, l.mu.lines = now, 0
	}
	if l.mu.lines == Burst {
		l.mu.missed++
		l.mu.Unlock()
		return
	}
	l.mu.lines++
	missed := l.mu.missed
	l.mu.missed = 0
	l.mu.Unlock()
	if missed > 0 {
		args = append(args, "similar_lines_left_out", missed)
	}
	l.Out.Warn(msg, args...)
}
