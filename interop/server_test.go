package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// readyTimeout and stopTimeout end a test whose server hangs; they are far
	// above what a sound one takes.
	readyTimeout = time.Minute
	stopTimeout  = time.Minute
	// pollEvery is how often a condition is looked at while it is waited for.
	pollEvery = time.Millisecond
	// volumeName is the volume that every test's pool has.
	volumeName = "main"
)

// The ways in which holdfast is built, as flags of go build.
const (
	asShipped = "-trimpath"
	// checked panics where an invariant is violated; raced also reports every
	// data race that it sees, and ends with an exit status that stop refuses.
	checked = "-tags=invariants"
	raced   = "-tags=invariants -race"
)

// binaries holds the holdfast binaries built by this run, by how they are built.
var binaries struct {
	sync.Mutex
	dir  string            // guarded by Mutex
	path map[string]string // guarded by Mutex
}

// holdfast returns the path of a holdfast that is built in the given way.
func holdfast(t *testing.T, how string) string {
	t.Helper()
	binaries.Lock()
	defer binaries.Unlock()
	if path := binaries.path[how]; path != "" {
		return path
	}
	if binaries.dir == "" {
		dir, err := os.MkdirTemp("", "holdfast-interop-")
		if err != nil {
			t.Fatal(err)
		}
		binaries.dir, binaries.path = dir, map[string]string{}
	}
	path := filepath.Join(binaries.dir, fmt.Sprintf("holdfast-%d", len(binaries.path)))
	build := exec.Command("go", slices.Concat([]string{"build"}, strings.Fields(how), []string{"-o", path, "./cmd/holdfast"})...)
	build.Dir = moduleRoot()
	build.Env = os.Environ()
	if how != raced {
		// The race detector is the one thing that needs a C library.
		build.Env = append(build.Env, "CGO_ENABLED=0")
	}
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build.Args, err, out)
	}
	binaries.path[how] = path
	return path
}

func removeBinaries() {
	binaries.Lock()
	defer binaries.Unlock()
	if binaries.dir != "" {
		os.RemoveAll(binaries.dir)
	}
}

// poolOptions says what a test's pool is like; zero values take small defaults.
type poolOptions struct {
	size   string // of the volume, as holdfast's --size
	budget string // of the cache, as in holdfast.toml; empty leaves the default
	build  string // how holdfast is built; empty: as shipped
	tcp    bool   // serve on a free TCP port as well
}

// pool is a pool in a folder of its own, served or not.
type pool struct {
	t    *testing.T
	bin  string
	dir  string
	legs []string
	port int // TCP, or 0
}

// newPool creates a pool with two file legs and one volume.
func newPool(t *testing.T, o poolOptions) *pool {
	t.Helper()
	if o.size == "" {
		o.size = "1GiB"
	}
	if o.build == "" {
		o.build = asShipped
	}
	p := &pool{t: t, bin: holdfast(t, o.build), dir: filepath.Join(t.TempDir(), "pool")}
	base := t.TempDir()
	p.legs = []string{filepath.Join(base, "leg0"), filepath.Join(base, "leg1")}
	run(t, p.bin, "create", p.dir, "--leg", p.legs[0], "--leg", p.legs[1], "--size", o.size, "--volume", volumeName)
	if o.budget != "" {
		p.configure("[cache]\nbudget = \"" + o.budget + "\"\n")
	}
	if o.tcp {
		p.port = freePort(t)
	}
	return p
}

// configure makes holdfast.toml say no more than the legs and what is given.
func (p *pool) configure(settings string) {
	p.t.Helper()
	text := fmt.Sprintf("legs = [\"%s\"]\n%s", strings.Join(p.legs, `", "`), settings)
	if err := os.WriteFile(filepath.Join(p.dir, "holdfast.toml"), []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// socket is the path of the NBD server's Unix socket.
func (p *pool) socket() string { return filepath.Join(p.dir, "nbd.sock") }

// uri is where libnbd and qemu find the volume.
func (p *pool) uri() string { return "nbd+unix:///" + volumeName + "?socket=" + p.socket() }

// server is a running holdfast.
type server struct {
	t       *testing.T
	pool    *pool
	cmd     *exec.Cmd
	log     string        // path of what it prints
	started time.Duration // from exec to the first accepted connection
	waited  chan error    // receives Wait's result
}

// serve starts the server and returns when it accepts connections.
func (p *pool) serve() *server {
	p.t.Helper()
	args := []string{"serve", p.dir}
	if p.port != 0 {
		args = append(args, "--tcp", fmt.Sprintf("127.0.0.1:%d", p.port))
	}
	return p.start(args)
}

func (p *pool) start(args []string) *server {
	p.t.Helper()
	log, err := os.Create(filepath.Join(p.t.TempDir(), "log"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	cmd := command(context.Background(), p.t, p.bin, args...)
	cmd.Stdout, cmd.Stderr = log, log
	s := &server{t: p.t, pool: p, cmd: cmd, log: log.Name(), waited: make(chan error, 1)}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() { s.waited <- cmd.Wait() }()
	p.t.Cleanup(s.end)
	for {
		c, err := net.Dial("unix", p.socket())
		if err == nil {
			s.started = time.Since(begin)
			c.Close()
			return s
		}
		if s.exited() {
			p.t.Fatalf("holdfast %s ended before it was ready:\n%s", strings.Join(args, " "), s.output())
		}
		if time.Since(begin) > readyTimeout {
			p.t.Fatalf("holdfast %s is not ready after %v: %v\n%s", strings.Join(args, " "), readyTimeout, err, s.output())
		}
		time.Sleep(pollEvery)
	}
}

// exited says whether the server has ended, and leaves the result for others.
func (s *server) exited() bool {
	select {
	case err := <-s.waited:
		s.waited <- err
		return true
	default:
		return false
	}
}

func (s *server) output() string {
	text, _ := os.ReadFile(s.log)
	return string(text)
}

// kill ends the server as a crash does.
func (s *server) kill() {
	s.t.Helper()
	if s.exited() {
		s.t.Fatalf("the server ended by itself:\n%s", s.output())
	}
	s.cmd.Process.Kill()
	err := <-s.waited
	s.waited <- err
}

// stop ends the server as an administrator does and checks what it left behind.
func (s *server) stop() {
	s.t.Helper()
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-s.waited:
		s.waited <- err
		if err != nil {
			s.t.Fatalf("after SIGTERM the server ended with %v:\n%s", err, s.output())
		}
	case <-time.After(stopTimeout):
		// A stack of every goroutine says where it hangs.
		s.cmd.Process.Signal(syscall.SIGQUIT)
		err := <-s.waited
		s.waited <- err
		s.t.Fatalf("the server did not stop within %v of SIGTERM:\n%s", stopTimeout, s.output())
	}
	s.pool.check()
}

// end makes sure that nothing is left when the test ends, however it ends.
func (s *server) end() {
	if s.t.Failed() {
		s.t.Logf("the server printed:\n%s", s.output())
	}
	s.cmd.Process.Kill()
	<-s.waited
}

// check has the pool, which nobody serves, found sound.
func (p *pool) check() {
	p.t.Helper()
	out, stderr, err := try(p.t, p.bin, "check", p.dir)
	if err != nil {
		p.t.Fatalf("holdfast check: %v\n%s%s", err, out, stderr)
	}
}

// status is what the tests read of holdfast status --json.
type status struct {
	Version    int          `json:"version"`
	State      string       `json:"state"`
	Size       int64        `json:"size"` // bytes of data
	RegionSize int64        `json:"region_size"`
	Resync     resyncStatus `json:"resync"`
	Legs       []legStatus  `json:"legs"`
	NBD        []connection `json:"nbd_connections"`
	Journal    struct {
		Size int64 `json:"size"` // bytes
	} `json:"journal"`
}

// legStatus is how a leg is.
type legStatus struct {
	State    string `json:"state"`
	Timeouts int    `json:"timeouts"`
}

// connection is an NBD client.
type connection struct {
	InFlight int `json:"in_flight"`
}

// resyncStatus is how far the resync since the server's start is.
type resyncStatus struct {
	RegionsLeft  int64 `json:"regions_left"`
	RegionsDone  int64 `json:"regions_done"`
	BytesRead    int64 `json:"bytes_read"`
	BytesWritten int64 `json:"bytes_written"`
}

// status asks the running server, of which nothing is to be wrong.
func (p *pool) status() status {
	p.t.Helper()
	return p.readStatus(run(p.t, p.bin, "status", p.dir, "--json"), "")
}

// anyStatus is the status of a pool that may be degraded, which is an exit
// status too.
func (p *pool) anyStatus() status {
	p.t.Helper()
	out, stderr, _ := try(p.t, p.bin, "status", p.dir, "--json")
	return p.readStatus(out, stderr)
}

func (p *pool) readStatus(out, stderr string) (s status) {
	p.t.Helper()
	if err := json.Unmarshal([]byte(out), &s); err != nil || s.Version != 2 {
		p.t.Fatalf("holdfast status --json: version %d, %v\n%s%s", s.Version, err, out, stderr)
	}
	return s
}

// freePort returns a TCP port of the loopback interface that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// eventually waits until done says so.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for begin := time.Now(); !done(); time.Sleep(10 * pollEvery) {
		if time.Since(begin) > stopTimeout {
			t.Fatal(errors.New("waited in vain for " + what))
		}
	}
}
