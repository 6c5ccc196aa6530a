package main

import (
	"context"
	"encoding/json"
	"os/signal"
	"syscall"

	"holdfast.dev/holdfast"
)

// eventsCmd says what happened to a pool, whether it is served or not.
type eventsCmd struct {
	Dir    string `arg:"" help:"Directory of the pool."`
	Follow bool   `short:"f" help:"Go on with what happens, until Ctrl-C."`
	JSON   bool   `help:"Print each event as a line of JSON."`
}

// Run is called by the parser.
func (cmd eventsCmd) Run(c console) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	for e, err := range holdfast.Events(ctx, cmd.Dir, cmd.Follow) {
		if err != nil {
			return err
		}
		line := []byte(e.String())
		if cmd.JSON {
			if line, err = json.Marshal(e); err != nil {
				return err
			}
		}
		if _, err := c.out.Write(append(line, '\n')); err != nil {
			return err // nobody reads any more
		}
	}
	return nil
}
