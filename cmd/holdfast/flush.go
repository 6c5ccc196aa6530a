package main

// flushCmd syncs a served pool.
type flushCmd struct {
	Dir string `arg:"" help:"Directory of the pool."`
}

// Run is called by the parser. It waits as long as the sync takes.
func (cmd flushCmd) Run(c console) error {
	if _, err := ask(cmd.Dir, "flush", 0); err != nil {
		return err
	}
	c.printf("%s: everything written is durable\n", cmd.Dir)
	return nil
}
