package holdfast

import (
	"context"
	"iter"

	"holdfast.dev/holdfast/internal/eventlog"
)

// Event is something that happened in a pool's life: a leg failed, a block was
// healed, a scrub ended.
type Event = eventlog.Event

// EventDetail is a thing to know of an event, such as the leg.
type EventDetail = eventlog.Detail

// Events returns what happened in the life of the pool in dir, oldest first, as far
// as it is kept; it makes no difference whether anybody has the pool open. With
// follow it goes on with what happens, until ctx is done. An error is the last that
// it returns.
func Events(ctx context.Context, dir string, follow bool) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if _, err := loadSettings(dir); err != nil {
			yield(Event{}, err)
			return
		}
		eventlog.Read(ctx, dir, follow)(yield)
	}
}
