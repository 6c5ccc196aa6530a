package attach

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"holdfast.dev/holdfast/cache"
)

// clientMain is a process that does what it is told, a line at a time, and
// answers each with a line.
func clientMain() {
	c, err := Open(context.Background(), os.Getenv("HOLDFAST_ATTACH_SOCKET"))
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	p := program{c: c}
	fmt.Println("ok")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(p.do(in.Text()))
	}
	os.Exit(0)
}

type program struct {
	c   *Client
	m   *Mapping
	pin *Pin
}

// do does one line: a word, a page of the mapping, a value, as far as it needs
// them.
func (p *program) do(line string) string {
	var word, volume string
	var page, value int
	fmt.Sscan(line, &word, &page, &value)
	if word == "measure" {
		fmt.Sscan(line, &word, &volume, &page, &value)
	}
	at := func() *byte { return &p.m.Bytes()[page*cache.PageSize] }
	var err error
	switch word {
	case "map", "mapro":
		var off, n int64
		fmt.Sscan(line, &word, &volume, &off, &n)
		flags := ReadWrite | modeOf(os.Getenv(modeVar))
		if word == "mapro" {
			flags = ReadOnly
		}
		var m *Mapping
		if m, err = p.c.Map(volume, off*cache.PageSize, n*cache.PageSize, flags); err == nil {
			p.m = m
			if m.Async() != (flags&Async != 0) {
				err = fmt.Errorf("asynchronous: %v", m.Async())
			}
		}
	case "store":
		err = Try(func() { *at() = byte(value) })
	case "fill":
		err = Try(func() { copy(p.m.Bytes()[page*cache.PageSize:], bytes.Repeat([]byte{byte(value)}, cache.PageSize)) })
	case "bare": // a store by a program that knows nothing of Try
		err = bare(func() { *at() = byte(value) })
	case "put": // a value into a page's place for one
		p := p.m.Bytes()[place(int64(page)):][:8]
		err = Try(func() { binary.LittleEndian.PutUint64(p, uint64(value)) })
	case "get":
		var v uint64
		p := p.m.Bytes()[place(int64(page)):][:8]
		if err = Try(func() { v = binary.LittleEndian.Uint64(p) }); err == nil {
			return fmt.Sprint("ok ", v)
		}
	case "load":
		var b byte
		if err = Try(func() { b = *at() }); err == nil {
			return fmt.Sprint("ok ", b)
		}
	case "bareload":
		var b byte
		if err = bare(func() { b = *at() }); err == nil {
			return fmt.Sprint("ok ", b)
		}
	case "storm": // stores without a pause until it cannot
		go func() { fmt.Println("storm", Try(func() { storm(p.m.Bytes()) })) }()
	case "later": // in another thread; its answer comes when it comes
		go func() { fmt.Println("later", p.do(strings.TrimPrefix(line, "later "))) }()
	case "measure":
		return p.measure(volume, page, value)
	case "stick":
		go func() {
			if err := stick(strings.TrimPrefix(line, "stick ")); err != nil {
				fmt.Fprintln(os.Stderr, "stick:", err)
			}
		}()
	case "gc":
		err = p.collect()
	case "copy": // for ever, out of pages that are not mapped, with the collector always on
		defer debug.SetGCPercent(debug.SetGCPercent(1))
		fmt.Println("copying")
		err = p.copy()
	case "sync":
		err = p.m.Sync()
	case "advise":
		err = p.m.Advise(0, int64(len(p.m.Bytes())), Advice(page))
	case "read": // read(2) into the mapping
		err = p.read(page, value)
	case "raw": // stores behind the server's back
		err = p.raw(page, value)
	case "vanish": // unmaps, without a word
		err = unix.MunmapPtr(unsafe.Pointer(&p.m.Bytes()[0]), uintptr(len(p.m.Bytes())))
	case "leave": // without unmapping here
		_, err = p.c.ask(&message{kind: kindUnmap, window: p.m.window}, -1)
	case "pin", "pinro": // a page, and as many as the value says
		flags := ReadWrite
		if word == "pinro" {
			flags = ReadOnly
		}
		p.pin, err = p.m.Pin(int64(page)*cache.PageSize, int64(value)*cache.PageSize, flags)
	case "unpin":
		err = p.pin.Release()
	case "unpinunchanged":
		err = p.pin.ReleaseUnchanged()
	case "unmap":
		err = p.m.Close()
	case "close":
		err = p.c.Close()
	default:
		err = fmt.Errorf("unknown %q", line)
	}
	if err != nil {
		return "error " + strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return "ok"
}

func storm(p []byte) {
	for i := byte(1); ; i++ {
		for at := 0; at < len(p); at += cache.PageSize {
			p[at] = i
		}
	}
}

// bare runs f and turns a fault into an error, and does nothing else about it.
func bare(f func()) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("bare: %v", r)
		}
	}()
	f()
	return nil
}

// collect stores, with the collector running all the time.
func (p *program) collect() error {
	defer beside(runtime.GC)()
	return Try(func() {
		for at := 0; at < len(p.m.Bytes()); at += cache.PageSize {
			copy(p.m.Bytes()[at:at+cache.PageSize], bytes.Repeat([]byte{7}, cache.PageSize))
		}
	})
}

// beside has another goroutine do something over and over, until the function that
// it returns is called.
func beside(do func()) (end func()) {
	stop := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
				do()
			}
		}
	}()
	return func() {
		close(stop)
		<-ended
	}
}

// copy copies out of the mapping, with another goroutine that makes garbage.
func (p *program) copy() error {
	defer beside(func() { garbage = make([]byte, 1<<16) })()
	buf := make([]byte, len(p.m.Bytes()))
	for {
		if err := Try(func() { copy(buf, p.m.Bytes()) }); err != nil {
			return err
		}
		if err := p.m.Advise(0, int64(len(buf)), DontNeed); err != nil {
			return err
		}
	}
}

// garbage keeps garbage from being optimised away.
var garbage []byte

func (p *program) read(page, value int) error {
	if !p.m.KernelFaults() {
		return errors.New("no kernel faults")
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	defer w.Close()
	if _, err := w.Write([]byte{byte(value)}); err != nil {
		return err
	}
	_, err = unix.Read(int(r.Fd()), p.m.Bytes()[page*cache.PageSize:][:1])
	return err
}

// raw stores through a mapping of its own that nobody serves.
func (p *program) raw(page, value int) error {
	a, err := p.c.ask(&message{kind: kindMap, flags: uint32(ReadWrite), text: p.m.volume}, -1)
	if err != nil {
		return err
	}
	defer closeFD(a.fd)
	if _, err := unix.Pwrite(a.fd, []byte{byte(value)}, int64(page)*cache.PageSize); err != nil {
		return err
	}
	_, err = p.c.ask(&message{kind: kindUnmap, window: a.window}, -1)
	return err
}

// child is a process that a test started.
type child struct {
	t   testing.TB
	cmd *exec.Cmd
	in  *os.File
	out *bufio.Scanner
}

// start starts this binary in a role. It is killed when the test ends.
func start(t testing.TB, role string, env ...string) *child {
	t.Helper()
	return launch(t, exec.Command(os.Args[0]), append(env, roleVar+"="+role)...)
}

func launch(t testing.TB, cmd *exec.Cmd, env ...string) *child {
	t.Helper()
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	in, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout = in, out
	runtime.LockOSThread() // Pdeathsig follows the thread.
	err = cmd.Start()
	runtime.UnlockOSThread()
	in.Close()
	out.Close()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t, cmd, w, bufio.NewScanner(r)}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		w.Close()
		r.Close()
	})
	c.expect("ok")
	return c
}

// kill ends the process and waits until it has gone.
func (c *child) kill() {
	c.cmd.Process.Kill()
	c.cmd.Wait()
}

func (c *child) signal(s syscall.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// stop stops the process, and waits until all its threads have.
func (c *child) stop() {
	c.t.Helper()
	c.signal(unix.SIGSTOP)
	var status unix.WaitStatus
	if _, err := unix.Wait4(c.cmd.Process.Pid, &status, unix.WUNTRACED, nil); err != nil || !status.Stopped() {
		c.t.Fatalf("not stopped: %v, %v", status, err)
	}
}

func (c *child) tell(line string) {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.in, line); err != nil {
		c.t.Fatal(err)
	}
}

// answer waits for the next line. The deadline is for tests that would hang.
func (c *child) answer() string {
	c.t.Helper()
	watchdog := time.AfterFunc(time.Minute, func() { c.cmd.Process.Signal(syscall.SIGQUIT) })
	defer watchdog.Stop()
	if !c.out.Scan() {
		c.t.Fatalf("the process ended, or was stuck: %v", c.out.Err())
	}
	return c.out.Text()
}

func (c *child) expect(want string) {
	c.t.Helper()
	if got := c.answer(); got != want {
		c.t.Fatalf("got %q, want %q", got, want)
	}
}

// do tells a line, and expects its answer.
func (c *child) do(line, want string) {
	c.t.Helper()
	c.tell(line)
	if got := c.answer(); got != want {
		c.t.Fatalf("%s: got %q, want %q", line, got, want)
	}
}

// fails tells a line that must fail with an error that names why.
func (c *child) fails(line, why string) {
	c.t.Helper()
	c.tell(line)
	if got := c.answer(); !strings.HasPrefix(got, "error") || !strings.Contains(got, why) {
		c.t.Fatalf("%s: got %q, want an error with %q", line, got, why)
	}
}

// wantThrownOut checks that an enemy is detached, with one line in the log that
// says why, and that a client beside it notices nothing.
func wantThrownOut(t *testing.T, h *house, e *enemy, good *child, why string) {
	t.Helper()
	e.detached()
	h.clients(1)
	if lines := h.log.lines(); len(lines) != 1 || !strings.Contains(lines[0], why) {
		t.Errorf("the log has not one line with %q:\n%s", why, strings.Join(lines, "\n"))
	}
	good.do("store 1 1", "ok")
	good.do("sync", "ok")
	h.stored(1, 1)
}
