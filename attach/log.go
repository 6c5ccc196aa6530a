package attach

import (
	"log/slog"
	"sync"
	"time"
)

// At most logBurst warnings are logged in each logWindow; what is left out is
// counted and told with the next: the rate must not be in a client's hands.
const (
	logBurst  = 20
	logWindow = 10 * time.Second
)

type limitedLog struct {
	out *slog.Logger

	mu struct {
		sync.Mutex
		since  time.Time // when the window began
		lines  int       // logged in it
		missed int       // left out since the last line that was logged
	}
}

// warn logs a line unless there were too many.
func (l *limitedLog) warn(msg string, args ...any) {
	l.mu.Lock()
	if now := time.Now(); now.Sub(l.mu.since) >= logWindow {
		l.mu.since, l.mu.lines = now, 0
	}
	if l.mu.lines == logBurst {
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
	l.out.Warn(msg, args...)
}
