package cache

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast.dev/holdfast/device"
)

var seedFlag = flag.Uint64("seed", 0, "replay the random tests with this seed")

func TestMain(m *testing.M) {
	flag.Parse()
	if *seedFlag == 0 {
		*seedFlag = uint64(time.Now().UnixNano())
	}
	fmt.Printf("cache: replay with -seed %d\n", *seedFlag)
	goleak.VerifyTestMain(m)
}

func newRand(t *testing.T) *rand.Rand {
	t.Helper()
	return rand.New(rand.NewPCG(*seedFlag, 1))
}

// store is a backing in memory whose owner keeps account, and which a test can
// make fail, wait and refuse.
type store struct {
	device.Device

	mu       sync.Mutex
	reserved map[int64]int // by offset
	refuse   map[int64]bool
	faults   map[string]error // by operation: read, write, flush, discard
	calls    map[string]int
	// before, if set, is called at the start of each operation.
	before func(op string, off, n int64)
	// afterRead, if set, is called with what a read has found.
	afterRead func()
}

func newStore(pages int64) *store {
	return &store{Device: device.NewMem(pages * PageSize), reserved: map[int64]int{}, refuse: map[int64]bool{},
		faults: map[string]error{}, calls: map[string]int{}}
}

func (s *store) op(name string, off, n int64) error {
	s.mu.Lock()
	s.calls[name]++
	before, fault := s.before, s.faults[name]
	s.mu.Unlock()
	if before != nil {
		before(name, off, n)
	}
	return fault
}

func (s *store) fail(op string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[op] = err
}

func (s *store) count(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[op]
}

func (s *store) setBefore(f func(op string, off, n int64)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

func (s *store) ReadAt(p []byte, off int64) (int, error) {
	if err := s.op("read", off, int64(len(p))); err != nil {
		return 0, err
	}
	n, err := s.Device.ReadAt(p, off)
	if s.afterRead != nil {
		s.afterRead()
	}
	return n, err
}

func (s *store) WriteAt(p []byte, off int64) (int, error) {
	if err := s.op("write", off, int64(len(p))); err != nil {
		return 0, err
	}
	return s.Device.WriteAt(p, off)
}

func (s *store) Flush() error {
	if err := s.op("flush", 0, 0); err != nil {
		return err
	}
	return s.Device.Flush()
}

func (s *store) Discard(off, n int64) error {
	if err := s.op("discard", off, n); err != nil {
		return err
	}
	return s.Device.Discard(off, n)
}

var errFull = errors.New("the owner's space is used up")

func (s *store) Reserve(off, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse[off] {
		return errFull
	}
	if s.reserved[off]++; s.reserved[off] != 1 || n != PageSize {
		panic(fmt.Sprintf("page at %d reserved %d times", off, s.reserved[off]))
	}
	return nil
}

func (s *store) OwnsSpace() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.refuse) == 0
}

func (s *store) Release(off, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reserved[off] != 1 || n != PageSize {
		panic(fmt.Sprintf("page at %d released, reserved %d times", off, s.reserved[off]))
	}
	delete(s.reserved, off)
}

func (s *store) outstanding() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.reserved)
}

// bench is a cache with one mapping of a store, and a handle.
type bench struct {
	t *testing.T
	c *Cache
	m *Mapping
	h *Handle
	s *store
}

var quiet = slog.New(slog.DiscardHandler)

func newBench(t *testing.T, pages int64, o Options, mo MappingOptions) *bench {
	t.Helper()
	return benchOn(t, newStore(pages), o, mo)
}

func benchOn(t *testing.T, s *store, o Options, mo MappingOptions) *bench {
	t.Helper()
	if o.Budget == 0 {
		o.Budget = MinBudget
	}
	if o.Log == nil {
		o.Log = quiet
		if testing.Verbose() && os.Getenv("HOLDFAST_LOG") != "" {
			o.Log = slog.Default()
		}
	}
	mo.Name = "test"
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Map(s, mo)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t, c, m, nil, s}
	b.h = b.open()
	t.Cleanup(func() { _ = c.Abandon() })
	return b
}

func (b *bench) open() *Handle {
	b.t.Helper()
	h, err := b.m.Open()
	if err != nil {
		b.t.Fatal(err)
	}
	return h
}

func (b *bench) write(p []byte, off int64) {
	b.t.Helper()
	if _, err := b.h.WriteAt(p, off); err != nil {
		b.t.Fatalf("write of %d bytes at %d: %v", len(p), off, err)
	}
}

func (b *bench) read(off, n int64) []byte {
	b.t.Helper()
	p := make([]byte, n)
	if _, err := b.h.ReadAt(p, off); err != nil {
		b.t.Fatalf("read of %d bytes at %d: %v", n, off, err)
	}
	return p
}

func (b *bench) sync() {
	b.t.Helper()
	if err := b.h.Sync(); err != nil {
		b.t.Fatalf("sync: %v", err)
	}
}

// stored reads the backing itself.
func (b *bench) stored(off, n int64) []byte {
	b.t.Helper()
	p := make([]byte, n)
	if _, err := b.s.Device.ReadAt(p, off); err != nil {
		b.t.Fatal(err)
	}
	return p
}

func fill(n int, v byte) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = v
	}
	return p
}

func (s *store) Extents(off, n int64, yield func(device.Extent) bool) error {
	return device.Extents(s.Device, off, n, yield)
}
