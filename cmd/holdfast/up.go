package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"holdfast.dev/holdfast"
)

// What up makes where there is no pool.
const (
	upLegSize = 4 << 30
	// upTCP is the port that IANA gives to NBD, on the loopback address only.
	upTCP = "127.0.0.1:10809"
)

// upCmd serves a pool, and makes it first if it is absent.
type upCmd struct {
	Dir string `default:"holdfast-data" placeholder:"DIR" help:"Directory of the pool (${default})."`
	tcpFlags
}

// Run is called by the parser.
func (cmd upCmd) Run(c console) error {
	if _, err := os.Stat(cmd.Dir); errors.Is(err, fs.ErrNotExist) {
		if err := cmd.create(c); err != nil {
			return err
		}
	}
	return serve(c, cmd.Dir, cmd.tcpFlags, holdfast.Options{}, func(s *server) { s.explain(c) })
}

func (cmd upCmd) create(c console) error {
	err := holdfast.Create(cmd.Dir, holdfast.CreateOptions{
		Legs:    []string{filepath.Join(cmd.Dir, "leg0.img"), filepath.Join(cmd.Dir, "leg1.img")},
		LegSize: upLegSize,
		TCP:     upTCP,
	})
	if err != nil {
		return err
	}
	c.printf("made a pool in %s with two sparse legs of 4 GiB\n", cmd.Dir)
	return nil
}

// explain prints what to do with a served pool, ready to paste.
func (s *server) explain(c console) {
	volume := s.pool.Volumes()[0]
	uri := tcpURI(volume, s.tcp)
	if s.unix != "" {
		uri = unixURI(volume, s.unix)
	}
	uri = "'" + uri + "'"
	dir, self := shellQuote(s.dir), shellQuote(os.Args[0])
	c.printf("holdfast serves volume %s:%s\n\n", volume, s.places())
	c.printf("  look at it      nbdinfo %s\n", uri)
	c.printf("  copy into it    nbdcopy IMAGE %s\n", uri)
	c.printf("                  qemu-img convert -n -O raw IMAGE %s\n", uri)
	c.printf("  attach it       sudo modprobe nbd && sudo nbd-client %s /dev/nbd0 -name %s\n", s.kernelArgs(), volume)
	c.printf("  detach it       sudo nbd-client -d /dev/nbd0\n")
	if path := s.pool.AttachAddress(); path != "" {
		c.printf("  map it          attach.Open(ctx, %q) in Go; in C see attach/c\n", path)
	}
	c.printf("  how it is       %s status %s\n", self, dir)
	c.printf("  make durable    %s flush %s\n", self, dir)
	c.printf("  stop it         Ctrl-C, or: kill %d\n\n", os.Getpid())
}

// kernelArgs is how nbd-client is told where the server is.
func (s *server) kernelArgs() string {
	if s.unix != "" {
		return "-unix " + shellQuote(s.unix)
	}
	host, port, err := net.SplitHostPort(s.tcp)
	if err != nil {
		return shellQuote(s.tcp)
	}
	return host + " " + port
}
