package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"holdfast.dev/holdfast/attach"
)

// childVar says that this process is to store to mapped memory: a volume's, by
// the socket where it is attached, or a file's.
const childVar = "HOLDFAST_BENCH_CHILD"

// mappedMost is how much of a volume or file is mapped and stored to, at most. It
// is far more than the processor caches, and little enough that all of it is
// touched many times in a turn.
const mappedMost = 64 << 20

// mapped is memory that a child stores to.
type mapped struct {
	mem  []byte
	sync func() error
}

// word is a name without spaces.
func word(name string) string { return strings.ReplaceAll(name, " ", "-") }

// runChild is the main function of a child: it answers commands until its
// standard input ends. It returns false in any other process.
func runChild() bool {
	what := strings.SplitN(os.Getenv(childVar), " ", 3)
	if len(what) != 3 {
		return false
	}
	size, err := strconv.Atoi(what[0])
	if err == nil {
		err = serveStores(size, what[1], what[2], os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Println("error", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(exitFailure)
	}
	return true
}

func serveStores(size int, what, path string, in io.Reader, out io.Writer) error {
	m, end, err := openMapped(size, what, path)
	if err != nil {
		return err
	}
	defer end()
	m.touch(false)
	fmt.Fprintln(out, "ready")
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var turn time.Duration
		switch n, _ := fmt.Sscanf(lines.Text(), "steady %d", &turn); {
		case n == 1:
			m.touch(true)
			f, err := timed(turn, repeat(m.storeAnywhere))(context.Background(), 0)
			if err != nil {
				return err
			}
			fmt.Fprintln(out, f[nanos])
		default:
			if err := m.sync(); err != nil {
				return err
			}
			// A page that nobody looked at since would cost a fault of another kind.
			m.touch(false)
			fmt.Fprintln(out, float64(m.touch(true))/float64(len(m.mem)/page))
		}
		if err := m.sync(); err != nil {
			return err
		}
		fmt.Fprintln(out, "settled")
	}
	return nil
}

func openMapped(size int, what, path string) (m mapped, end func() error, err error) {
	if what == word(window) {
		c, err := attach.Open(context.Background(), path)
		if err != nil {
			return m, nil, err
		}
		w, err := c.Map(volumeName, 0, int64(size), attach.ReadWrite)
		if err != nil {
			return m, nil, errors.Join(err, c.Close())
		}
		return mapped{w.Bytes(), w.Sync}, c.Close, nil
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return m, nil, err
	}
	defer f.Close()
	mem, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return mapped{mem, func() error { return unix.Msync(mem, unix.MS_SYNC) }}, func() error { return unix.Munmap(mem) }, err
}

// touch stores to, or loads from, each page once, in an order that no readahead
// foresees, and returns how long that took.
func (m mapped) touch(store bool) time.Duration {
	order := rand.Perm(len(m.mem) / page)
	var looked byte
	began := time.Now()
	for _, n := range order {
		if store {
			m.mem[n*page]++
		} else {
			looked += m.mem[n*page]
		}
	}
	took := time.Since(began)
	runtime.KeepAlive(looked)
	return took
}

func (m mapped) storeAnywhere() { m.mem[rand.IntN(len(m.mem)/page)*page]++ }

// child is such a process, as its parent sees it.
type child struct {
	in  io.WriteCloser
	out *bufio.Reader
}

// startChild starts one, which ends with the host.
func startChild(h *host, size int64, what, path string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s %s", childVar, size, word(what), path))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{in, bufio.NewReader(out)}
	stop := context.AfterFunc(h.ctx, func() { cmd.Process.Kill() })
	h.later(func() error {
		stop()
		in.Close()
		if err := cmd.Wait(); err != nil && h.ctx.Err() == nil {
			return fmt.Errorf("the process that stores: %w", err)
		}
		return nil
	})
	return c, c.expect("ready")
}

func (c *child) line() (string, error) {
	text, err := c.out.ReadString('\n')
	text = strings.TrimSpace(text)
	if why, failed := strings.CutPrefix(text, "error "); failed {
		return "", errors.New(why)
	}
	return text, err
}

func (c *child) expect(want string) error {
	switch got, err := c.line(); {
	case err != nil:
		return err
	case got != want:
		return fmt.Errorf("the process that stores said %q instead of %q", got, want)
	}
	return nil
}

// turn has a child do something that takes so many nanoseconds a page.
func (c *child) turn(command string) func(context.Context, int) (figures, error) {
	return func(context.Context, int) (figures, error) {
		if _, err := fmt.Fprintln(c.in, command); err != nil {
			return nil, err
		}
		text, err := c.line()
		if err != nil {
			return nil, err
		}
		var ns float64
		if _, err := fmt.Sscan(text, &ns); err != nil {
			return nil, fmt.Errorf("the process that stores said %q", text)
		}
		return figures{nanos: ns, iops: 1e9 / ns}, c.expect("settled")
	}
}

// mappings are the experiments about mapped memory.
func (l *local) mappings(h *host, turn time.Duration) ([]experiment, error) {
	path, size := l.pool.AttachAddress(), min(l.size, mappedMost)
	listener, err := l.pool.ListenAttach(path)
	if err != nil {
		return nil, err
	}
	// It ends, and says how, when the pool is closed.
	served := make(chan error, 1)
	go func() { served <- l.pool.ServeAttach(listener) }()
	h.later(func() error {
		select {
		case err := <-served:
			return err
		default:
			return nil
		}
	})
	ours, err := startChild(h, size, window, path)
	if err != nil {
		return nil, err
	}
	theirs, err := startChild(h, size, mappedFile, l.file.Name())
	if err != nil {
		return nil, err
	}
	steady, first := fmt.Sprintf("steady %d", turn), "first"
	return []experiment{
		{storeSteady, []contestant{{window, ours.turn(steady)}, {mappedFile, theirs.turn(steady)}}},
		{storeFirst, []contestant{{window, ours.turn(first)}, {mappedFile, theirs.turn(first)}}},
	}, nil
}
