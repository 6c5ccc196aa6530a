package main

import (
	"holdfast.dev/holdfast"
	"holdfast.dev/holdfast/internal/config"
)

// createCmd makes a pool.
type createCmd struct {
	Dir       string      `arg:"" help:"Directory of the pool; made if it is absent."`
	Leg       []string    `required:"" placeholder:"PATH" sep:"none" help:"A copy of the mirror: a block device, or a file, which is made if it is absent. Give it one to four times."`
	Size      config.Size `required:"" placeholder:"SIZE" help:"Size of the volume, such as 512MiB or 4G."`
	Volume    string      `default:"main" placeholder:"NAME" help:"Name of the volume (${default})."`
	Guards    string      `default:"crc32c" enum:"crc32c,t10-dif,none" help:"What is stored to check each block by: crc32c, t10-dif or none (${default})."`
	Journal   journalSize `default:"auto" placeholder:"SIZE" help:"Size of the journal on each leg, such as 64MiB; auto is a 64th of the pool, from 1 to 256MiB; none is none (${default})."`
	Stability string      `default:"wait" enum:"wait,copy" help:"What a write does that meets a page being written out: wait or copy (${default})."`
}

// journalSize is the size of a journal.
type journalSize int64

// UnmarshalText reads a size, auto, or none.
func (s *journalSize) UnmarshalText(text []byte) error {
	switch string(text) {
	case "auto":
		*s = 0
		return nil
	case "none":
		*s = holdfast.NoJournal
		return nil
	}
	n := config.Size(0)
	if err := n.UnmarshalText(text); err != nil {
		return err
	}
	*s = journalSize(n)
	return nil
}

// Run is called by the parser.
func (cmd createCmd) Run(c console) error {
	if cmd.Size == 0 {
		return usageError{"--size is 0; say how large the volume shall be"}
	}
	err := holdfast.Create(cmd.Dir, holdfast.CreateOptions{
		Legs: cmd.Leg, Size: int64(cmd.Size), Volume: cmd.Volume, Stability: cmd.Stability, Guards: cmd.Guards, Journal: int64(cmd.Journal),
	})
	if err != nil {
		return err
	}
	c.printf("made %s with volume %s of %v on %d legs; serve it with: holdfast serve %s\n",
		cmd.Dir, cmd.Volume, cmd.Size, len(cmd.Leg), shellQuote(cmd.Dir))
	return nil
}
