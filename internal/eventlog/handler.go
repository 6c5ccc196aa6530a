package eventlog

import (
	"context"
	"log/slog"
	"time"
)

// Handler returns a handler that gives records to the one below, and keeps those
// that are events.
func (l *Log) Handler() slog.Handler { return &handler{log: l, out: l.out} }

// handler is a view of a Log with attributes and groups of its own.
type handler struct {
	log   *Log
	out   slog.Handler
	group string // the open groups, each with a dot
	// with has the attributes that every record has; only they are of interest.
	with Event
}

func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	// What is kept is not less because less is shown.
	return level >= slog.LevelInfo || h.out.Enabled(ctx, level)
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.out = h.out.WithAttrs(attrs)
	c.with.Details = append([]Detail(nil), h.with.Details...)
	for _, a := range attrs {
		c.with.add(h.group, a)
	}
	return &c
}

func (h *handler) WithGroup(name string) slog.Handler {
	c := *h
	c.out = h.out.WithGroup(name)
	c.group += name + "."
	return &c
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if !h.keep(r) {
		return nil
	}
	if !h.out.Enabled(ctx, r.Level) {
		return nil
	}
	return h.out.Handle(ctx, r)
}

// keep queues a record if it is an event. It says whether it is to be shown: one
// of too many is not.
func (h *handler) keep(r slog.Record) (show bool) {
	e := h.with
	e.Details = append([]Detail(nil), h.with.Details...)
	r.Attrs(func(a slog.Attr) bool {
		e.add(h.group, a)
		return true
	})
	if e.Kind == "" {
		return true
	}
	e.Time, e.Level, e.Message = r.Time, r.Level.String(), cut(r.Message)
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	return h.log.add(e)
}
