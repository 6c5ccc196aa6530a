package uffd

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The process that faults is this test binary once more, told so by the
// environment. It maps the memfd it inherited, and does what it is asked.
const (
	envChild  = "HOLDFAST_UFFD_CHILD" // the mapping's size
	envNobody = "HOLDFAST_UFFD_NOBODY"
	envAsync  = "HOLDFAST_UFFD_ASYNC"

	childSocket = 3
	childMemory = 4
)

func TestMain(m *testing.M) {
	if size := os.Getenv(envChild); size != "" {
		if err := childMain(size); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// request and reply travel as one packet each.
type request struct {
	ID    int
	Op    string
	Page  int
	Count int
	Value byte
}

type reply struct {
	ID    int
	Value int64
	Fault string // what became of an access that could not be done
	Addr  uint64 // where
	Err   string
}

// hello is what the child sends first, with its userfaultfd if it has one.
type hello struct {
	Base         uint64
	KernelFaults bool
	Err          string
}

type childState struct {
	mem     []byte
	loaded  atomic.Int64 // what loads came to, so that the compiler keeps them
	storm   atomic.Bool
	storms  sync.WaitGroup
	writing sync.Mutex
}

func childMain(text string) error {
	size, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	if os.Getenv(envNobody) != "" {
		if err := syscall.Setresuid(65534, 65534, 65534); err != nil {
			return err
		}
	}
	c := &childState{}
	if c.mem, err = unix.Mmap(childMemory, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return err
	}
	if err := c.introduce(); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(childSocket, buf)
		if n <= 0 || err != nil {
			return err
		}
		var q request
		if err := json.Unmarshal(buf[:n], &q); err != nil {
			return err
		}
		go func() {
			r := c.do(q)
			r.ID = q.ID
			c.send(r, nil)
		}()
	}
}

// introduce makes the userfaultfd and gives it away: the parent's copy is then
// the last, so that a parent that dies leaves no child that waits for ever.
func (c *childState) introduce() error {
	fd, err := Create(Mode(os.Getenv(envAsync) != ""))
	if err != nil {
		return c.send(hello{Err: err.Error()}, nil)
	}
	rights := []int{fd.Fd()}
	if os.Getenv(envAsync) != "" {
		pagemap, err := OpenPagemap()
		if err != nil {
			return c.send(hello{Err: err.Error()}, nil)
		}
		defer pagemap.Close()
		rights = append(rights, int(pagemap.Fd()))
	}
	if err := fd.Register(addressOf(c.mem), len(c.mem)); err != nil {
		return c.send(hello{Err: err.Error()}, nil)
	}
	err = c.send(hello{Base: uint64(addressOf(c.mem)), KernelFaults: fd.KernelFaults()}, unix.UnixRights(rights...))
	if err != nil {
		return err
	}
	return fd.Close()
}

func (c *childState) send(v any, rights []byte) error {
	p, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	return unix.Sendmsg(childSocket, p, rights, nil, 0)
}

// do runs one request. An access that the kernel refuses comes back as a
// panic, which names the address.
func (c *childState) do(q request) (r reply) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch e := recover().(type) {
		case nil:
		case interface {
			error
			Addr() uintptr
		}:
			r.Fault, r.Addr = e.Error(), uint64(e.Addr())
		default:
			panic(e)
		}
	}()
	off := q.Page * pageSize
	var err error
	switch q.Op {
	case "load":
		r.Value = int64(c.mem[off+17])
	case "store":
		c.mem[off+17] = q.Value
	case "copy": // many pages by one memmove, which the runtime cannot preempt
		r.Value = int64(copy(make([]byte, q.Count*pageSize), c.mem[off:]))
	case "loads", "stores":
		r.Value = c.touch(q)
	case "storm":
		c.storm.Store(true)
		for i := range q.Count {
			c.storms.Go(func() { c.rage(i) })
		}
	case "calm":
		c.storm.Store(false)
		c.storms.Wait()
	case "drop":
		err = unix.Madvise(c.mem[off:off+q.Count*pageSize], unix.MADV_DONTNEED)
	case "unmap":
		err = unix.MunmapPtr(unsafe.Pointer(&c.mem[off]), uintptr(q.Count*pageSize))
	case "replace":
		err = mapAnonymous(addressOf(c.mem)+uintptr(off), q.Count*pageSize)
	case "pread": // the kernel stores into the mapping
		var f *os.File
		if f, err = os.Open("/dev/zero"); err == nil {
			_, err = f.Read(c.mem[off : off+pageSize])
			f.Close()
		}
	default:
		err = fmt.Errorf("unknown operation %q", q.Op)
	}
	if err != nil {
		r.Err = err.Error()
	}
	return r
}

// touch loads from or stores to pages one after the other and returns how many
// nanoseconds that took.
func (c *childState) touch(q request) int64 {
	var sum byte
	start := time.Now()
	for i := range q.Count {
		at := (q.Page+i)*pageSize + 17
		if q.Op == "stores" {
			c.mem[at]++
		} else {
			sum += c.mem[at]
		}
	}
	took := time.Since(start).Nanoseconds()
	c.loaded.Add(int64(sum))
	return took
}

// rage stores as fast as it can, a byte of its own in every page.
func (c *childState) rage(thread int) {
	for i := thread; c.storm.Load(); i++ {
		c.mem[i*pageSize%len(c.mem)+thread]++
	}
}
