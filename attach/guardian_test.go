package attach

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// rounds is how often a server is killed under a client, in each mode.
const rounds = 10

// A client whose only processor waits in the middle of a copy is told that the
// server is gone, whenever that is killed.
func TestKilledServerUnderCopy(t *testing.T) {
	t.Run("announced", func(t *testing.T) { killedServerUnderCopy(t, Announced) })
	t.Run("async", func(t *testing.T) { killedServerUnderCopy(t, Async) })
}

func killedServerUnderCopy(t *testing.T, mode Flags) {
	needMode(t, mode)
	r := newRand(t)
	for round := range rounds {
		socket := filepath.Join(t.TempDir(), "attach")
		h := &house{t: t, socket: socket, mode: mode}
		s := start(t, "server", "HOLDFAST_ATTACH_SOCKET="+socket, h.modeEnv())
		// Without the runtime's signals only the guardian wakes who waits.
		c, d := h.client(housePages, "GOMAXPROCS=1"), h.client(housePages, "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1")
		for _, c := range []*child{c, d} {
			c.tell("copy")
			c.expect("copying")
		}
		guardian := s.guardian()
		time.Sleep(time.Duration(r.IntN(30)) * time.Millisecond)
		if round%2 == 0 {
			s.kill()
		} else {
			killServing(s, r)
		}
		for _, c := range []*child{c, d} {
			c.told(t)
			c.fails("load 1", "the server is gone")
			c.do("close", "ok")
		}
		gone(t, guardian)
	}
}

// killServing kills a server that has been stopped at any point, so that a client
// waits for certain.
func killServing(s *child, r *rand.Rand) {
	s.t.Helper()
	s.stop()
	time.Sleep(time.Duration(5+r.IntN(20)) * time.Millisecond)
	s.kill()
}

// told waits for a client's copy to fail. It is generous: what it finds is one
// that would wait for ever.
func (c *child) told(t *testing.T) {
	t.Helper()
	watchdog := time.AfterFunc(10*time.Second, func() { c.cmd.Process.Signal(syscall.SIGQUIT) })
	defer watchdog.Stop()
	if got := c.answer(); !strings.Contains(got, "the server is gone") {
		t.Fatalf("the copy ended with %q", got)
	}
}

// guardian asks a server who its guardian is.
func (c *child) guardian() int {
	c.t.Helper()
	c.tell("guardian")
	pid, err := strconv.Atoi(c.answer())
	if err != nil || pid <= 0 {
		c.t.Fatalf("no guardian: %d, %v", pid, err)
	}
	return pid
}

// gone waits until a process has ended.
func gone(t *testing.T, pid int) {
	t.Helper()
	eventually(t, fmt.Sprintf("the end of process %d", pid), func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
}

// A server that stops by its own will, in the middle of clients' copies, lets
// them know too, and its guardian ends with it.
func TestShutdownUnderCopy(t *testing.T) {
	bothModes(t, testShutdownUnderCopy)
}

func testShutdownUnderCopy(t *testing.T, newHouse func(t testing.TB, o Options) *house) {
	for range 5 {
		h := newHouse(t, Options{})
		c := h.client(housePages, "GOMAXPROCS=1", "GODEBUG=asyncpreemptoff=1")
		c.tell("copy")
		c.expect("copying")
		guardian := h.server.Stats().Guardian
		if guardian == 0 {
			t.Fatal("no guardian")
		}
		if err := h.server.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := h.cache.Close(); err != nil {
			t.Fatal(err)
		}
		h.server.Close()
		if err := unix.Kill(guardian, 0); err != unix.ESRCH {
			t.Errorf("the guardian is still there: %v", err)
		}
		c.told(t)
	}
}

// A guardian that is killed, or does not move, is replaced, and the next knows of
// everything. While the server lives none of them does anything.
func TestGuardianReplaced(t *testing.T) {
	needUffd(t)
	socket := filepath.Join(t.TempDir(), "attach")
	s := start(t, "server", "HOLDFAST_ATTACH_SOCKET="+socket)
	h := &house{t: t, socket: socket}
	c := h.client(housePages, "GOMAXPROCS=1")
	d := h.client(1)
	last := 0
	another := func() int {
		pid := 0
		eventually(t, "another guardian", func() bool {
			s.tell("guardian")
			pid, _ = strconv.Atoi(s.answer())
			return pid != 0 && pid != last
		})
		last = pid
		return pid
	}
	another()
	for i := range 3 {
		if err := unix.Kill(last, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		another()
		c.do(fmt.Sprintf("store %d 7", i), "ok")
	}
	// One that is stopped is found by the messages that it does not take.
	if err := unix.Kill(last, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for stopped := last; last == stopped; {
		d.do("unmap", "ok")
		d.do("map vol 0 1", "ok")
		s.tell("guardian")
		if pid, _ := strconv.Atoi(s.answer()); pid != 0 {
			last = pid
		}
	}
	eventually(t, "a guardian that knows two windows", func() bool { return holds(t, last) == 3 })
	for _, sig := range []syscall.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT} {
		if err := unix.Kill(last, sig); err != nil {
			t.Fatal(err)
		}
	}
	c.do("store 900 9", "ok")
	c.do("load 1", "ok 7")
	c.do("sync", "ok")
	c.tell("copy")
	c.expect("copying")
	if now := s.guardian(); now != last {
		t.Errorf("the guardian %d has become %d: a signal ended it", last, now)
	}
	killServing(s, newRand(t))
	c.told(t)
	gone(t, last)
}

// A guardian is neither in the server's session nor in its group, has nothing of
// it open, and as many descriptors as windows need, whatever has come and gone.
func TestGuardianHoldsLittle(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client(4)
	guardian := h.server.Stats().Guardian
	if sid, err := unix.Getsid(guardian); err != nil || sid != guardian {
		t.Errorf("session %d, %v", sid, err)
	}
	count := func() int { return holds(t, guardian) }
	eventually(t, "a memory and a window", func() bool { return count() == 2 })
	for range 10 {
		c.do("map vol 0 1", "ok")
	}
	eventually(t, "a memory and eleven windows", func() bool { return count() == 12 })
	c.kill()
	eventually(t, "nothing", func() bool { return count() == 0 })
	if now := h.server.Stats().Guardian; now != guardian {
		t.Errorf("the guardian %d has become %d", guardian, now)
	}
}

// holds returns how many memories and windows a guardian has.
func holds(t *testing.T, guardian int) (n int) {
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", guardian))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", guardian, e.Name()))
		if strings.Contains(to, "holdfast:vol") || strings.Contains(to, "userfaultfd") {
			n++
		}
	}
	return n
}

// A process that was told to be a guardian, but not by a server, says so or ends.
func TestGuardianByMistake(t *testing.T) {
	for value, status := range map[string]int{"yes": guardianUsage, strconv.Itoa(guardianFD): guardianBlind} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), guardianVar+"="+value)
		_ = cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != status {
			t.Errorf("%s=%s: status %d, want %d", guardianVar, value, got, status)
		}
	}
}
