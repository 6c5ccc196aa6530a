package attach

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// demo builds the program in C, and starts it.
func demo(t *testing.T, socket string, args ...string) *child {
	t.Helper()
	compiler, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no gcc to build the client in C with")
	}
	program := filepath.Join(t.TempDir(), "demo")
	out, err := exec.Command(compiler, "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread",
		"-o", program, "c/demo.c", "c/holdfast.c").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return launch(t, exec.Command(program, append([]string{socket, "vol"}, args...)...))
}

func TestC(t *testing.T) {
	h := newHouse(t, Options{})
	h.put(5, 50)
	c := demo(t, h.socket)
	c.do("load 5", "ok 50")
	c.do("store 5 51", "ok")
	h.sees(5, 51)
	c.do("sync", "ok")
	h.stored(5, 51)
	c.do("store 5 52", "ok")
	c.do("sync", "ok")
	h.stored(5, 52)

	h.backing.set(func(int64) error { return errFull }, nil)
	c.do("store 5 1", "error signal")
	h.sees(5, 52)
	c.do("load 5", "ok 52")
	h.backing.set(nil, nil)
	c.do("store 5 53", "ok")
	h.sees(5, 53)
	c.do("unmap", "ok")
	h.clients(0)
}

func TestCAsync(t *testing.T) {
	h := newAsyncHouse(t, Options{})
	h.put(5, 50)
	c := demo(t, h.socket, "async")
	for v := 51; v < 60; v++ {
		c.do(line("store 5", v), "ok")
		h.sees(5, byte(v))
		c.do("sync", "ok")
		h.stored(5, byte(v))
	}
	c.do("store 6 6", "ok")
	c.do("unmap", "ok")
	if err := h.handle.Sync(); err != nil {
		t.Fatal(err)
	}
	h.stored(6, 6)
	if st := h.server.Stats(); st.Detached != 0 || st.Protects != 0 {
		t.Errorf("%+v: %q", st, h.log.lines())
	}
}

// A thread that waits when the server is killed gets a signal: here the one that
// watches is another.
func TestCKilledServer(t *testing.T) {
	t.Run("announced", func(t *testing.T) { killedServerOfC(t, Announced) })
	t.Run("async", func(t *testing.T) { killedServerOfC(t, Async, "async") })
}

func killedServerOfC(t *testing.T, mode Flags, args ...string) {
	needMode(t, mode)
	h := &house{t: t, socket: filepath.Join(t.TempDir(), "attach"), mode: mode}
	s := start(t, "server", "HOLDFAST_ATTACH_SOCKET="+h.socket, h.modeEnv())
	c := demo(t, h.socket, args...)
	c.do("store 1 1", "ok")
	s.stop()
	c.tell("load 2")
	time.Sleep(50 * time.Millisecond)
	s.kill()
	c.expect("error signal")
	c.do("load 1", "error signal")
	c.do("sync", "error")
}
