package eventlog

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	// Burst events of one kind about one leg are kept in each Window. The first few
	// of a thousand healed blocks tell as much as all.
	Burst = 20
	// Window is how long a burst is counted; then it is told how many were left out.
	Window = 10 * time.Second

	// queueMost is how many events may wait for the file: what a few legs that fail
	// at once bring about, many times over.
	queueMost = 1024

	// closePatience is how long Close waits for a file system that does not answer.
	closePatience = 5 * time.Second
)

// Log keeps events in a directory. Its methods may be called from anywhere.
type Log struct {
	file file
	out  slog.Handler
	wake chan struct{} // holds a token if there is something to do
	done chan struct{}

	mu struct {
		sync.Mutex
		closed bool
		queue  []Event
		// full is how many events found the queue full.
		full int
		// limits is what was logged of late; what is not is swept out.
		limits map[limitKey]*limit
	}
}

type limitKey struct{ kind, of string }

// limit counts the events of one kind about one leg, or volume.
type limit struct {
	since   time.Time
	kept    int
	leftOut int
}

// New keeps events in dir, and hands all records on to out. It does not fail: if
// the file cannot be written that is logged, once, and whoever logs works on.
func New(dir string, out slog.Handler) *Log {
	l := &Log{out: out, wake: make(chan struct{}, 1), done: make(chan struct{})}
	l.file.dir = dir
	l.mu.limits = map[limitKey]*limit{}
	go l.write()
	return l
}

// Close writes what is queued, if that takes no longer than closePatience. Events
// that come later only go to the log.
func (l *Log) Close() {
	l.mu.Lock()
	closed := l.mu.closed
	l.mu.closed = true
	l.mu.Unlock()
	if !closed {
		l.ring()
	}
	select {
	case <-l.done:
	case <-time.After(closePatience):
		l.tell(slog.LevelError, "what happened to the pool is still not written down: it is left", "waited", closePatience)
	}
}

func (l *Log) ring() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// add queues an event, unless there were too many of its kind. It says whether
// there were not.
func (l *Log) add(e Event) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		return true
	}
	key := limitKey{e.Kind, e.Detail("leg") + e.Detail("volume")}
	lim := l.mu.limits[key]
	if lim == nil {
		lim = &limit{since: e.Time}
		l.mu.limits[key] = lim
	}
	if lim.kept == Burst {
		lim.leftOut++
		return false
	}
	lim.kept++
	l.queue(e)
	l.ring()
	return true
}

// queue appends an event. Requires l.mu.
func (l *Log) queue(e Event) {
	if len(l.mu.queue) == queueMost {
		l.mu.full++
		return
	}
	l.mu.queue = append(l.mu.queue, e)
}

// write is the task that writes the file.
func (l *Log) write() {
	defer close(l.done)
	tick := time.NewTicker(Window)
	defer tick.Stop()
	for {
		select {
		case <-l.wake:
		case <-tick.C:
		}
		batch, told, closed := l.take()
		if err := l.file.append(batch); err != nil {
			l.tell(slog.LevelError, "what happens to the pool cannot be written down; it works on, and this is tried again", "error", err)
		}
		for _, e := range told {
			l.tell(slog.LevelWarn, e.Message, Key, e.Kind, "kind", e.Detail("kind"), "leg", e.Detail("leg"), "events", e.Detail("events"))
		}
		if closed {
			l.file.close()
			return
		}
	}
}

// tell logs past the Log: it is about what is kept.
func (l *Log) tell(level slog.Level, msg string, args ...any) {
	slog.New(l.out).Log(context.Background(), level, msg, args...)
}

// take returns what is to be written: what is queued, and, of what was left out,
// how much it was; that is to be told to the log too.
func (l *Log) take() (batch, told []Event, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	closed = l.mu.closed
	now := time.Now()
	for key, lim := range l.mu.limits {
		if !closed && now.Sub(lim.since) < Window {
			continue
		}
		delete(l.mu.limits, key)
		if lim.leftOut > 0 {
			e := leftOut(now, lim.leftOut, fmt.Sprintf("more than %d of a kind in %v", Burst, Window))
			e.Details = append([]Detail{{"kind", key.kind}, {"leg", key.of}}, e.Details...)
			told = append(told, e)
		}
	}
	batch, l.mu.queue = l.mu.queue, nil
	if l.mu.full > 0 {
		told = append(told, leftOut(now, l.mu.full, "too many at once"))
		l.mu.full = 0
	}
	return append(batch, told...), told, closed
}

// leftOut is the event that events were left out.
func leftOut(now time.Time, count int, why string) Event {
	return Event{Time: now, Level: slog.LevelWarn.String(), Kind: LeftOut, Message: "events were left out: " + why,
		Details: []Detail{{"events", count}}}
}
