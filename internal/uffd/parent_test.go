package uffd

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// needUserfaultfd skips where the kernel has none, or forbids it.
func needUserfaultfd(tb testing.TB) {
	fd, err := Create(Announced)
	if errors.Is(err, ErrUnsupported) {
		tb.Skip(err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	if err := fd.Close(); err != nil {
		tb.Fatal(err)
	}
}

func addressOf(mem []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(mem))) }

func mapAnonymous(addr uintptr, n int) error {
	_, err := unix.MmapPtr(-1, 0, unsafe.Add(nil, addr), uintptr(n), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED)
	return err
}

// child is the process that faults, seen from the one that serves it.
type child struct {
	*FD
	tb     testing.TB
	cmd    *exec.Cmd
	socket int
	memory int    // the memfd
	frames []byte // its pages, in this process
	base   uintptr
	hello  hello
	async  bool

	waiting struct {
		sync.Mutex
		last int
		by   map[int]chan reply
		over bool
	}
	receiver sync.WaitGroup
}

// start runs a child over a memfd of so many pages, all holes. The settings are
// for its environment.
func start(tb testing.TB, pages int, env ...string) *child {
	tb.Helper()
	needUserfaultfd(tb)
	c := &child{tb: tb, async: slices.Contains(env, asyncMode)}
	c.waiting.by = map[int]chan reply{}
	size := pages * pageSize
	var err error
	if c.memory, err = unix.MemfdCreate("test", unix.MFD_CLOEXEC); err == nil {
		err = unix.Ftruncate(c.memory, int64(size))
	}
	if err != nil {
		tb.Fatal(err)
	}
	if c.frames, err = unix.Mmap(c.memory, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := errors.Join(unix.Munmap(c.frames), unix.Close(c.memory)); err != nil {
			tb.Error(err)
		}
	})
	c.run(append(env, envChild+"="+strconv.Itoa(size)))
	c.adopt()
	c.receiver.Go(c.receive)
	return c
}

func (c *child) run(env []string) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		c.tb.Fatal(err)
	}
	memory, err := unix.FcntlInt(uintptr(c.memory), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		c.tb.Fatal(err)
	}
	c.socket = ends[0]
	files := []*os.File{os.NewFile(uintptr(ends[1]), "socket"), os.NewFile(uintptr(memory), "memory")}
	c.cmd = exec.Command(os.Args[0])
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.ExtraFiles = files
	c.cmd.Stderr = os.Stderr
	if err := c.cmd.Start(); err != nil {
		c.tb.Fatal(err)
	}
	c.tb.Cleanup(c.end)
	for _, f := range files {
		f.Close()
	}
}

// end kills the child, whatever it waits for, and what is left here of it.
func (c *child) end() {
	c.kill()
	c.receiver.Wait()
	unix.Close(c.socket)
	if c.FD != nil {
		if err := c.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			c.tb.Error(err)
		}
	}
}

func (c *child) kill() {
	if c.cmd.ProcessState == nil {
		c.cmd.Process.Kill()
		c.cmd.Wait() // tells that it was killed
	}
}

func (c *child) adopt() {
	c.tb.Helper()
	p, control := make([]byte, 4096), make([]byte, unix.CmsgSpace(8))
	n, controls, _, _, err := unix.Recvmsg(c.socket, p, control, unix.MSG_CMSG_CLOEXEC)
	if err == nil {
		err = json.Unmarshal(p[:n], &c.hello)
	}
	if err != nil || c.hello.Err != "" {
		c.tb.Fatal("the child did not start: ", err, " ", c.hello.Err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:controls])
	if err != nil || len(messages) != 1 {
		c.tb.Fatalf("no descriptor came: %v", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		c.tb.Fatal(err)
	}
	if c.async {
		c.FD, err = AdoptAsync(fds[0], fds[1])
	} else {
		c.FD, err = Adopt(fds[0])
	}
	if err != nil {
		for _, fd := range fds {
			unix.Close(fd)
		}
		c.tb.Fatal(err)
	}
	c.base = uintptr(c.hello.Base)
}

// receive hands each reply to who waits for it, until the child has ended.
func (c *child) receive() {
	p := make([]byte, 4096)
	for {
		n, err := unix.Read(c.socket, p)
		var r reply
		if n <= 0 || err != nil || json.Unmarshal(p[:n], &r) != nil {
			break
		}
		c.waiting.Lock()
		c.waiting.by[r.ID] <- r
		delete(c.waiting.by, r.ID)
		c.waiting.Unlock()
	}
	c.waiting.Lock()
	defer c.waiting.Unlock()
	c.waiting.over = true
	for _, reply := range c.waiting.by {
		close(reply)
	}
}

// ask starts an operation in the child; the channel is closed without a reply
// when the child ends.
func (c *child) ask(q request) <-chan reply {
	c.tb.Helper()
	answer := make(chan reply, 1)
	c.waiting.Lock()
	c.waiting.last++
	q.ID = c.waiting.last
	c.waiting.by[q.ID] = answer
	c.waiting.Unlock()
	p, err := json.Marshal(q)
	if err == nil {
		err = unix.Send(c.socket, p, 0)
	}
	if err != nil {
		c.tb.Fatal(err)
	}
	return answer
}

// answer waits for the outcome of what was asked, which must be a success.
func (c *child) answer(asked <-chan reply) int64 {
	c.tb.Helper()
	r, ok := <-asked
	if !ok || r.Err != "" || r.Fault != "" {
		c.tb.Fatalf("the child answers %+v (%v)", r, ok)
	}
	return r.Value
}

// refused waits for the outcome of an access, which must be a fault at the page.
func (c *child) refused(asked <-chan reply, page int) {
	c.tb.Helper()
	r, ok := <-asked
	if !ok || r.Err != "" || r.Fault == "" {
		c.tb.Fatalf("the child answers %+v (%v), not a fault", r, ok)
	}
	if at := uintptr(r.Addr); at < c.at(page) || at >= c.at(page+1) {
		c.tb.Fatalf("a fault at %#x, not in page %d at %#x", at, page, c.at(page))
	}
}

// at is where the child has a page.
func (c *child) at(page int) uintptr { return c.base + uintptr(page*pageSize) }

// next returns the next fault.
func (c *child) next() Fault {
	c.tb.Helper()
	var one [1]Fault
	n, err := c.ReadFaults(one[:])
	if n != 1 || err != nil {
		c.tb.Fatalf("%d faults: %v", n, err)
	}
	return one[0]
}

// expect waits for the next fault, which must be this one.
func (c *child) expect(page int, kind Kind, write bool) {
	c.tb.Helper()
	f := c.next()
	if f.Addr != c.at(page)+17 || f.Kind != kind || f.Write != write || f.Thread <= 0 {
		c.tb.Fatalf("fault %+v, not %v of page %d at byte %#x, write %v", f, kind, page, c.at(page)+17, write)
	}
}

// must reports an error of the test's own operation.
func (c *child) must(err error) {
	c.tb.Helper()
	if err != nil {
		c.tb.Fatal(err)
	}
}

// grant maps pages.
func (c *child) grant(page, count int, protect bool) {
	c.tb.Helper()
	done, err := c.Continue(c.at(page), count*pageSize, protect)
	if done != count*pageSize || err != nil {
		c.tb.Fatalf("%d bytes of %d mapped: %v", done, count*pageSize, err)
	}
}

// write puts a value into a frame, as a cache does that fills it.
func (c *child) write(page int, value byte) { c.frames[page*pageSize+17] = value }

// read takes it from there.
func (c *child) read(page int) byte { return c.frames[page*pageSize+17] }

// punch makes a hole in the memfd.
func (c *child) punch(page, count int) {
	c.tb.Helper()
	c.must(unix.Fallocate(c.memory, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE,
		int64(page*pageSize), int64(count*pageSize)))
}
