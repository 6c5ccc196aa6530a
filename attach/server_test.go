package attach

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/internal/uffd"
)

// backing is a volume's device and owner.
type backing struct {
	*device.Mem
	owns atomic.Bool // it refuses nothing
	mu   sync.Mutex
	// Guarded by mu: called with the page before a reservation and a read.
	reserve, read func(page int64) error
}

var errFull = errors.New("the owner is full")

func (b *backing) set(reserve, read func(page int64) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reserve, b.read = reserve, read
}

func (b *backing) Reserve(off, _ int64) error {
	b.mu.Lock()
	f := b.reserve
	b.mu.Unlock()
	if f != nil {
		return f(off / cache.PageSize)
	}
	return nil
}

func (b *backing) Release(off, n int64) {}

func (b *backing) OwnsSpace() bool { return b.owns.Load() }

func (b *backing) ReadAt(p []byte, off int64) (int, error) {
	b.mu.Lock()
	f := b.read
	b.mu.Unlock()
	if f != nil {
		if err := f(off / cache.PageSize); err != nil {
			return 0, err
		}
	}
	return b.Mem.ReadAt(p, off)
}

// house is a server with one volume, "vol".
type house struct {
	t       testing.TB
	socket  string
	backing *backing
	cache   *cache.Cache
	mapping *cache.Mapping
	handle  *cache.Handle
	server  *Server
	log     lockedBuffer
	mode    Flags // that its clients ask for: Async or Announced
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) lines() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.FieldsFunc(b.buf.String(), func(r rune) bool { return r == '\n' })
}

const housePages = 1024

// needUffd skips a test where the machine has no userfaultfd.
func needUffd(t testing.TB) {
	fd, err := uffd.Create(uffd.Announced)
	if errors.Is(err, uffd.ErrUnsupported) {
		t.Skipf("no userfaultfd: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	fd.Close()
}

func newHouse(t testing.TB, o Options) *house {
	t.Helper()
	return newHouseIn(t, Announced, o, 16<<20)
}

// bothModes runs a test with windows whose stores are announced, and with such
// whose stores are not.
func bothModes(t *testing.T, f func(t *testing.T, newHouse func(t testing.TB, o Options) *house)) {
	for name, mode := range map[string]Flags{"announced": Announced, "async": Async} {
		t.Run(name, func(t *testing.T) {
			f(t, func(t testing.TB, o Options) *house { return newHouseIn(t, mode, o, 16<<20) })
		})
	}
}

// needMode skips a test where the machine does not have the mode.
func needMode(t testing.TB, mode Flags) {
	needUffd(t)
	if err := uffd.CanAsync(); mode == Async && err != nil {
		t.Skip(err)
	}
}

// newHouseIn makes a house whose clients ask for a mode, with a budget in bytes.
func newHouseIn(t testing.TB, mode Flags, o Options, budget int64) *house {
	t.Helper()
	needMode(t, mode)
	h := &house{t: t, mode: mode, socket: filepath.Join(t.TempDir(), "attach")}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(&h.log, nil))
	}
	if err := h.open(o, budget); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	l, err := Listen(context.Background(), h.socket)
	if err != nil {
		t.Fatal(err)
	}
	go func() { served <- h.server.Serve(l) }()
	t.Cleanup(func() {
		if err := h.server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != ErrServerClosed {
			t.Error(err)
		}
		if err := h.cache.Close(); err != nil {
			t.Error(err)
		}
		h.server.Close()
	})
	return h
}

func (h *house) open(o Options, budget int64) (err error) {
	h.backing = &backing{Mem: device.NewMem(housePages * cache.PageSize)}
	h.backing.owns.Store(h.mode == Async)
	if h.cache, err = cache.New(cache.Options{Budget: budget, Log: slog.New(slog.DiscardHandler)}); err != nil {
		return err
	}
	if h.mapping, err = h.cache.Map(h.backing, cache.MappingOptions{Name: "vol"}); err != nil {
		return err
	}
	if h.handle, err = h.mapping.Open(); err != nil {
		return err
	}
	o.Volumes = func(name string) (*cache.Mapping, error) {
		if name != "vol" {
			return nil, errors.New("not here")
		}
		return h.mapping, nil
	}
	h.server = NewServer(o)
	return nil
}

// serverMain is a server in a process of its own, to be killed.
func serverMain() {
	h := &house{mode: modeOf(os.Getenv(modeVar))}
	socket := os.Getenv("HOLDFAST_ATTACH_SOCKET")
	err := h.open(Options{}, 16<<20)
	if err == nil {
		l, lerr := Listen(context.Background(), socket)
		if err = lerr; err == nil {
			fmt.Println("ok")
			go h.server.Serve(l)
			// Whoever asks is told who the guardian is.
			for in := bufio.NewScanner(os.Stdin); in.Scan(); {
				fmt.Println(h.server.Stats().Guardian)
			}
			err = io.EOF
		}
	}
	fmt.Println("error", err)
	os.Exit(1)
}

// client starts a process that has the volume's first n pages mapped.
func (h *house) client(n int, env ...string) *child {
	h.t.Helper()
	c := start(h.t, "client", append(env, "HOLDFAST_ATTACH_SOCKET="+h.socket, h.modeEnv())...)
	c.do(fmt.Sprintf("map vol 0 %d", n), "ok")
	return c
}

// modeVar tells a process the mode that its windows are to have.
const modeVar = "HOLDFAST_ATTACH_MODE"

func (h *house) modeEnv() string {
	if h.mode == Async {
		return modeVar + "=async"
	}
	return modeVar + "=announced"
}

func modeOf(s string) Flags {
	if s == "async" {
		return Async
	}
	return Announced
}

// steps counts what the server did because of stores.
func (h *house) steps() int64 {
	st := h.server.Stats()
	return st.WriteFaults + st.Scans
}

// put writes a page full of v.
func (h *house) put(page int64, v byte) {
	h.t.Helper()
	if _, err := h.handle.WriteAt(bytes.Repeat([]byte{v}, cache.PageSize), page*cache.PageSize); err != nil {
		h.t.Fatal(err)
	}
}

// first returns the first byte of a page, as a reader at r finds it.
func (h *house) first(r io.ReaderAt, page int64) byte {
	h.t.Helper()
	var p [1]byte
	buf := p[:]
	if r == io.ReaderAt(h.backing) {
		buf = make([]byte, device.SectorSize)
	}
	if _, err := r.ReadAt(buf, page*cache.PageSize); err != nil {
		h.t.Fatal(err)
	}
	return buf[0]
}

func (h *house) sees(page int64, want byte) {
	h.t.Helper()
	if got := h.first(h.handle, page); got != want {
		h.t.Fatalf("page %d: the server sees %d, want %d", page, got, want)
	}
}

func (h *house) stored(page int64, want byte) {
	h.t.Helper()
	if got := h.first(h.backing, page); got != want {
		h.t.Fatalf("page %d: the backing has %d, want %d", page, got, want)
	}
}

// clients waits until the server has n.
func (h *house) clients(n int) {
	h.t.Helper()
	eventually(h.t, fmt.Sprintf("%d clients", n), func() bool { return len(h.server.Stats().Clients) == n })
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// It is told who was denied, though he has hung up before the answer.
func TestDeniedAndGone(t *testing.T) {
	h := newHouse(t, Options{})
	c := &session{s: h.server, cred: unix.Ucred{Pid: 7, Uid: 9}}
	c.logEnd(errors.Join(fmt.Errorf("%w for user 9", ErrDenied), unix.EPIPE))
	if lines := h.log.lines(); len(lines) != 1 || !strings.Contains(lines[0], ErrDenied.Error()) {
		t.Errorf("%q", lines)
	}
}
