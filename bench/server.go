package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// kind is a server that volumes are served by.
type kind struct {
	name  string
	needs []string // programs
	// asRoot says that it needs what only root may do.
	asRoot bool
	// oneCopy says that it keeps one copy, without a checksum.
	oneCopy bool
	// volatile says that it has no disk, and so nothing to read cold.
	volatile bool
	// make makes what s serves, and says how.
	make func(s *server) error
}

// server is one volume that is, or can be, served.
type server struct {
	kind
	h    *host // its own folders, and the end of its life
	size int64
	// budget is what the cache may take, of a server that has one of its own;
	// the group's limit is for the others, "" where there is none.
	budget int64
	group  string

	// These are make's to say.
	args   []string
	export string
	// socket is where it listens, and log what it says.
	socket, log string
	// ending is the signal that ends it; SIGTERM unless make says otherwise.
	ending syscall.Signal
	// backing are the files under it, as seen from here while it runs.
	backing func() []string
	// filled says that make has filled the volume already; else fill does, when
	// it runs, or, if that is nil, it is copied into.
	filled bool
	fill   func() error
	// settle makes durable what was written; nil: syncs the files under it.
	settle func(ctx context.Context) error
	// stopped is called when it has ended.
	stopped func() error

	proc *process
}

// missing says why a kind cannot run on this machine.
func (k kind) missing() (why string) {
	if k.asRoot && os.Geteuid() != 0 {
		return "it needs root"
	}
	var lacking []string
	for _, program := range k.needs {
		if _, err := lookPath(program); err != nil {
			lacking = append(lacking, err.Error())
		}
	}
	return strings.Join(lacking, ", ")
}

// newServer makes a volume of a kind. Its end, and what it leaves, are the host's.
func newServer(h *host, k kind, size, budget int64, group string) (*server, error) {
	sub, err := h.sub(strings.ReplaceAll(k.name, " ", "-"))
	if err != nil {
		return nil, err
	}
	h.later(sub.close)
	s := &server{kind: k, h: sub, size: size, budget: budget, group: group, ending: syscall.SIGTERM}
	s.socket, s.log = filepath.Join(sub.run, "nbd.sock"), filepath.Join(sub.run, "log")
	s.backing = func() []string { return nil }
	return s, k.make(s)
}

func (s *server) uri() string { return nbdURI(s.export, s.socket) }

// nbdURI is an export behind a Unix socket.
func nbdURI(export, socket string) string { return "nbd+unix:///" + export + "?socket=" + socket }

// start starts it.
func (s *server) start(ctx context.Context) error {
	args := s.args
	if s.h.o.apart {
		args = append([]string{"taskset", "--cpu-list", fmt.Sprintf("1-%d", runtime.NumCPU()-1)}, args...)
	}
	if s.group != "" {
		// It is in the group before it is itself, and so is all it ever takes.
		args = append([]string{"sh", "-c", `echo $$ >"$0" && exec "$@"`, s.group}, args...)
	}
	p, err := startProcess(ctx, s.log, s.socket, args...)
	if err != nil {
		return err
	}
	s.proc = p
	return nil
}

// stop stops it, if it runs.
func (s *server) stop() error {
	if s.proc == nil {
		return nil
	}
	err := s.proc.stop(s.ending)
	s.proc = nil
	if err == nil && s.stopped != nil {
		err = s.stopped()
	}
	return err
}

// launch starts it for the first time, filled.
func (s *server) launch(ctx context.Context) error {
	s.h.later(s.stop)
	if err := s.start(ctx); err != nil {
		return err
	}
	if s.filled {
		return nil
	}
	if s.fill != nil {
		return s.fill()
	}
	image, err := image(ctx, filepath.Dir(s.h.files), s.size)
	if err != nil {
		return err
	}
	if _, err := output(ctx, "nbdcopy", image, s.uri()); err != nil {
		return err
	}
	return s.quiet(ctx)
}

// quiet makes durable what was written, so that nobody pays for it in the turn of
// another.
func (s *server) quiet(ctx context.Context) error {
	if s.settle != nil {
		return s.settle(ctx)
	}
	return syncFiles(s.backing())
}

// cool has nothing of the volume in memory: it is stopped, its files leave the
// kernel's page cache, and it is started again.
func (s *server) cool(ctx context.Context) error {
	// Files of a file system that goes with the server are synced while they can
	// be reached, and gone from memory with it.
	if err := dropFiles(s.backing()); err != nil {
		return err
	}
	if err := s.stop(); err != nil {
		return err
	}
	if err := dropFiles(s.files()); err != nil {
		return err
	}
	return s.start(ctx)
}

// files are those of its folder that are there without the server.
func (s *server) files() []string {
	all, _ := filepath.Glob(filepath.Join(s.h.files, "*"))
	var files []string
	for _, path := range all {
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
			files = append(files, path)
		}
	}
	return files
}

// load runs a job against it, and counts what that took.
func (s *server) load(ctx context.Context, j job, turn time.Duration, round int) (figures, error) {
	pid := s.proc.cmd.Process.Pid
	before, err := cpuTime(pid)
	if err != nil {
		return nil, err
	}
	wholeBefore, err := busyTime()
	if err != nil {
		return nil, err
	}
	f, err := fio(ctx, j, overNBD(s.uri()).apart(s.h.o.apart), s.size, turn, round+1)
	if err != nil {
		return nil, err
	}
	after, err := cpuTime(pid)
	if err != nil {
		return nil, err
	}
	f[cpuMicros] = float64((after - before).Microseconds()) / f[operations]
	began := time.Now()
	if err := s.quiet(ctx); err != nil {
		return nil, fmt.Errorf("making durable what was written: %w", err)
	}
	f[settleSeconds] = time.Since(began).Seconds()
	f[durable] = f[operations] / (f[operations]/f[iops] + f[settleSeconds])
	whole, err := busyTime()
	f[wholeMicros] = float64((whole - wholeBefore).Microseconds()) / f[operations]
	return f, err
}
