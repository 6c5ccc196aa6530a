package aio

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

const size = 16 // of most queues here

// newQueue returns a queue that is closed at the end of the test.
func newQueue(t *testing.T) *Queue {
	t.Helper()
	q, err := New(size)
	if errors.Is(err, ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	return q
}

func newFile(t *testing.T) (fd int, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "file")
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd, path
}

// block is the content of the i-th block in some round.
func block(round, i int) []byte { return bytes.Repeat([]byte{byte(round), byte(i)}, 512) }

// All that was added is written, or read, when Run returns, time and again, and each has its
// own result.
func TestRun(t *testing.T) {
	q := newQueue(t)
	fd, path := newFile(t)
	for round := range 5 {
		n := size - round
		want := make([]byte, 0, size<<10)
		for i := range n {
			want = append(want, block(round, i)...)
			q.Add(Write, fd, block(round, n-1-i), int64(n-1-i)<<10)
		}
		q.Run()
		for i := range n {
			if done, err := q.Result(i); done != 1024 || err != nil {
				t.Errorf("round %d, write %d: %d, %v", round, i, done, err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got[:len(want)], want) {
			t.Errorf("round %d: not what was written, %v", round, err)
		}
		clear(got)
		for i := range n {
			q.Add(Read, fd, got[i<<10:][:1<<10], int64(i)<<10)
		}
		q.Run()
		if !bytes.Equal(got[:len(want)], want) {
			t.Errorf("round %d: not what was written is read", round)
		}
	}
	q.Run() // nothing
}

// What the kernel refuses at once, refuses later, or does in part is told of the
// write that it is true of, and of no other.
func TestResults(t *testing.T) {
	q := newQueue(t)
	fd, _ := newFile(t)
	pipe := make([]int, 2)
	if err := unix.Pipe2(pipe, unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	readOnly, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(readOnly)
	room, err := unix.FcntlInt(uintptr(pipe[1]), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		t.Fatal(err)
	}
	writes := []struct {
		fd   int
		n    int
		off  int64
		done int
		err  error
	}{
		{fd, 100, 0, 100, nil},
		{readOnly, 100, 0, 0, unix.EBADF},
		{pipe[1], room + 4096, 0, room, nil},
		{pipe[1], 4096, 0, 0, unix.EAGAIN},
		{fd, 100, -5, 0, unix.EINVAL},
		{-1, 100, 0, 0, unix.EBADF},
		{fd, 200, 100, 200, nil},
		{1 << 20, 100, 0, 0, unix.EBADF},
	}
	for _, w := range writes {
		q.Add(Write, w.fd, make([]byte, w.n), w.off)
	}
	q.Run()
	for i, w := range writes {
		if done, err := q.Result(i); done != w.done || !errors.Is(err, w.err) {
			t.Errorf("write %d: %d, %v; want %d, %v", i, done, err, w.done, w.err)
		}
	}
}

// Signals do not make Run return early. Writes that go to the disk are waited for.
func TestSignals(t *testing.T) {
	q := newQueue(t)
	_, path := newFile(t)
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no O_DIRECT in %s", path)
	}
	defer unix.Close(fd)
	p := make([]byte, 32<<10) // of a size that the runtime aligns to its pages
	var g sync.WaitGroup
	stop := make(chan struct{})
	g.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				unix.Kill(unix.Getpid(), unix.SIGURG) // which the runtime expects at any time
			}
		}
	})
	for round := range 200 {
		for i := range size {
			q.Add(Write, fd, p, int64(round*size+i)%64*int64(len(p)))
		}
		q.Run()
		for i := range size {
			if n, err := q.Result(i); n != len(p) || err != nil {
				t.Errorf("round %d, write %d: %d, %v", round, i, n, err)
			}
		}
	}
	close(stop)
	g.Wait()
}

// More than the system has is not to be had, and that has a name.
func TestUnavailable(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/fs/aio-max-nr")
	if err != nil {
		t.Skip(err)
	}
	var most int
	if _, err := fmt.Sscan(strings.TrimSpace(string(text)), &most); err != nil {
		t.Fatal(err)
	}
	q, err := New(most + 1)
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("a queue for %d: %v", most+1, err)
	}
	if err == nil {
		q.Close()
	}
}

func TestNoAllocation(t *testing.T) {
	q := newQueue(t)
	fd, _ := newFile(t)
	p := make([]byte, 512)
	if n := testing.AllocsPerRun(100, func() {
		q.Add(Write, fd, p, 0)
		q.Add(Write, fd, p, 512)
		q.Run()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
