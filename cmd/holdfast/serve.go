package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"

	"holdfast.dev/holdfast"
)

// serveCmd serves a pool.
type serveCmd struct {
	Dir string `arg:"" help:"Directory of the pool."`
	tcpFlags
	ResyncShare         float64  `help:"Which part of the time may be spent on making legs equal, above 0 up to 1, instead of what holdfast.toml says."`
	Journal             string   `default:"" enum:",auto,always,never" placeholder:"MODE" help:"What a sync writes to the journal, instead of what holdfast.toml says: auto (small scattered writes), always or never."`
	ForceWithoutJournal bool     `help:"Serve although the journal cannot be read whole: what it held is lost then."`
	ForceWithout        []string `placeholder:"LEG" help:"Serve without this leg (a path, or a UUID), although it may hold what the others lack, which is lost then. May be given more than once."`
}

// tcpFlags say where TCP is served, whatever holdfast.toml says.
type tcpFlags struct {
	TCP   string `xor:"tcp" placeholder:"HOST:PORT" help:"Serve on this TCP address instead of the one in holdfast.toml."`
	NoTCP bool   `name:"no-tcp" xor:"tcp" help:"Serve on the Unix socket only."`
}

// Run is called by the parser. It returns when the pool is closed.
func (cmd serveCmd) Run(c console) error {
	o := holdfast.Options{WithoutLegs: cmd.ForceWithout, ResyncShare: cmd.ResyncShare, Journal: cmd.Journal, WithoutJournal: cmd.ForceWithoutJournal}
	return serve(c, cmd.Dir, cmd.tcpFlags, o, func(s *server) {
		c.printf("serving %s:%s; stop with Ctrl-C or: kill %d\n", cmd.Dir, s.places(), os.Getpid())
	})
}

// collectAt is how much garbage may pile up, in percent of what lives, where
// GOGC does not say. Pages are outside Go's heap, and what serves a request is
// used again, so collections are rare at any figure: a small one makes the
// process take little more than its budget of pages.
const collectAt = 40

// server is a pool that is being served.
type server struct {
	dir       string
	pool      *holdfast.Pool
	listeners []net.Listener
	attach    net.Listener // nil if nobody may map
	// unix and tcp are where clients connect; empty if nowhere.
	unix, tcp string
}

// serve opens the pool in dir, serves it, calls ready, and closes the pool when
// a signal comes. A second signal ends the process at once.
func serve(c console, dir string, tcp tcpFlags, o holdfast.Options, ready func(*server)) (err error) {
	if os.Getenv("GOGC") == "" {
		defer debug.SetGCPercent(debug.SetGCPercent(collectAt))
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)

	log := slog.New(slog.NewTextHandler(c.err, nil))
	o.Log = log
	pool, err := holdfast.Open(dir, o)
	if err != nil {
		return err
	}
	if len(pool.Volumes()) == 0 {
		return errors.Join(fmt.Errorf("%s has no volume to serve", dir), pool.Close())
	}
	s := &server{dir: dir, pool: pool}
	control, err := s.listen(tcp, log)
	if err != nil {
		return errors.Join(err, s.closeListeners(), pool.Close())
	}
	var serving sync.WaitGroup
	failed := make(chan error, len(s.listeners))
	for _, l := range s.listeners {
		serving.Go(func() {
			if err := pool.Serve(l); err != nil {
				failed <- err
			}
		})
	}
	if s.attach != nil {
		serving.Go(func() {
			if err := pool.ServeAttach(s.attach); err != nil {
				log.Warn("volumes cannot be mapped into other processes; NBD is served all the same", "err", err)
			}
		})
	}
	ready(s)
	select {
	case sig := <-signals:
		fmt.Fprintf(c.err, "holdfast: %v: syncing and stopping; a second signal stops at once\n", sig)
	case err = <-failed:
	}
	stopped := make(chan struct{})
	defer close(stopped)
	go exitOnSecond(c.err, signals, stopped)
	err = errors.Join(err, control.close(), pool.Close())
	serving.Wait()
	return err
}

// exitOnSecond ends the process at the next signal, unless stopped is closed
// first.
func exitOnSecond(w io.Writer, signals <-chan os.Signal, stopped <-chan struct{}) {
	select {
	case sig := <-signals:
		fmt.Fprintf(w, "holdfast: second signal (%v): stopped without syncing; what was flushed is safe\n", sig)
		os.Exit(exitFailure)
	case <-stopped:
	}
}

// listen opens the sockets for NBD and starts to answer on the control socket.
func (s *server) listen(flags tcpFlags, log *slog.Logger) (*controlServer, error) {
	s.unix, s.tcp = s.pool.Addresses()
	if flags.TCP != "" {
		s.tcp = flags.TCP
	}
	if flags.NoTCP {
		s.tcp = ""
	}
	if s.unix != "" {
		l, err := s.pool.ListenUnix(s.unix)
		if err != nil {
			return nil, err
		}
		s.listeners = append(s.listeners, l)
	}
	if s.tcp != "" {
		l, err := net.Listen("tcp", s.tcp)
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("%s is in use by another program; stop that, or give another address with --tcp, or none with --no-tcp", s.tcp)
		}
		if err != nil {
			return nil, fmt.Errorf("serving on TCP: %w", err)
		}
		s.tcp = l.Addr().String() // tells the port where 0 was asked for
		s.listeners = append(s.listeners, l)
	}
	if path := s.pool.AttachAddress(); path != "" {
		l, err := s.pool.ListenAttach(path)
		if err != nil {
			return nil, err
		}
		s.attach = l
	}
	return startControl(s.pool, s.dir, log)
}

func (s *server) closeListeners() error {
	var all []error
	for _, l := range s.listeners {
		all = append(all, l.Close())
	}
	if s.attach != nil {
		all = append(all, s.attach.Close())
	}
	return errors.Join(all...)
}

// places lists the URIs of the default volume.
func (s *server) places() string {
	text := ""
	volume := s.pool.Volumes()[0]
	if s.unix != "" {
		text += " " + shellQuote(unixURI(volume, s.unix))
	}
	if s.tcp != "" {
		text += " " + shellQuote(tcpURI(volume, s.tcp))
	}
	return text
}
