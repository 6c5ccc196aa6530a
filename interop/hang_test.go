package interop

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"
)

const (
	hangVolume = 16 * mib
	// hangLeg is ample for a leg of such a volume.
	hangLeg = 64 * mib
	// hangRequest is how much one request of these tests carries.
	hangRequest = 256 << 10
	// longDeadline is one that does not end while a test runs.
	longDeadline, shortDeadline = "1h", "1s"
)

// poolOn creates a pool on legs that are there, or are made.
func poolOn(t *testing.T, deadline string, legs ...string) *pool {
	t.Helper()
	p := &pool{t: t, bin: holdfast(t, checked), dir: filepath.Join(t.TempDir(), "pool"), legs: legs}
	args := []string{"create", p.dir, "--size", fmt.Sprint(hangVolume), "--volume", volumeName}
	for _, l := range legs {
		args = append(args, "--leg", l)
	}
	run(t, p.bin, args...)
	p.configure(fmt.Sprintf("deadline = %q\n", deadline))
	return p
}

// everywhere calls one for each request's part of the volume, some at a time.
func everywhere(one func(off int64) error) error {
	var work errgroup.Group
	work.SetLimit(8)
	for off := int64(0); off < hangVolume; off += hangRequest {
		work.Go(func() error { return one(off) })
	}
	return work.Wait()
}

func writeVolume(c *client, data []byte) error {
	return everywhere(func(off int64) error { return c.writeAt(data[off:off+hangRequest], off, 0) })
}

func readVolume(c *client, want []byte) error {
	return everywhere(func(off int64) error {
		p := make([]byte, hangRequest)
		if err := c.readAt(p, off); err != nil {
			return err
		}
		if !bytes.Equal(p, want[off:off+hangRequest]) {
			return fmt.Errorf("at %d it reads otherwise than it was written", off)
		}
		return nil
	})
}

func someData(t *testing.T) []byte {
	r := rand.New(rand.NewPCG(uint64(seed(t)), 0))
	p := make([]byte, hangVolume)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// terminate ends the server as an administrator does, and wants it to succeed.
// If it has a leg that hangs, its exit status is to be had only when that answers
// again: until then the kernel keeps a thread that was stuck.
func (s *server) terminate(h *hangable) {
	s.t.Helper()
	s.cmd.Process.Signal(syscall.SIGTERM)
	eventually(s.t, "the end of the server", func() bool { return s.exited() || s.isZombie() })
	h.answer()
	err := <-s.waited
	s.waited <- err
	if err != nil {
		s.t.Fatalf("after SIGTERM the server ended with %v:\n%s", err, s.output())
	}
}

// isZombie says whether the server's program has ended.
func (s *server) isZombie() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	return err == nil && bytes.Contains(stat, []byte(") Z "))
}

// One of two legs stops answering: nothing hangs for longer than the deadline,
// nothing fails, the leg is charged, and set aside when it misses something. The
// server ends while the leg still hangs; when it answers again what was stuck
// does no harm.
func TestHungLeg(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(c *client, data []byte) error
		// misses says that the leg misses something by it.
		misses bool
	}{
		{"read", readVolume, false},
		{"write", func(c *client, data []byte) error {
			for i := range data {
				data[i]++
			}
			return errors.Join(writeVolume(c, data), c.flush())
		}, true},
		{"flush", func(c *client, data []byte) error { return c.flush() }, true},
		{"zero", func(c *client, data []byte) error {
			clear(data[:hangRequest])
			return c.call(cmdWriteZeroes, flagFUA, 0, hangRequest, nil, nil)
		}, true},
		{"trim", func(c *client, data []byte) error {
			clear(data[:hangRequest])
			return errors.Join(c.call(cmdTrim, 0, 0, hangRequest, nil, nil), c.flush())
		}, true},
		{"nothing", func(*client, []byte) error { return nil }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHangable(t, hangLeg)
			p := poolOn(t, shortDeadline, filepath.Join(t.TempDir(), "sound"), h.path)
			data := someData(t)
			s := p.serve()
			if err := writeVolume(dial(t, p), data); err != nil {
				t.Fatal(err)
			}
			s.terminate(h)
			s = p.serve() // with nothing in memory
			client := dial(t, p)
			if err := client.writeAt(data[:512], 0, 0); err != nil {
				t.Fatal(err)
			}

			h.hang()
			if err := c.do(client, data); err != nil {
				t.Fatal(err)
			}
			leg := p.anyStatus().Legs[1]
			// Whether this call or another of the pool's was the first to hang.
			named := strings.Contains(s.output(), "for "+shortDeadline) || strings.Contains(s.output(), "more than "+shortDeadline)
			if c.misses && !named {
				t.Errorf("the deadline that was given is not the one that passed:\n%s", s.output())
			}
			if c.misses && leg.State == "in sync" {
				t.Errorf("the leg missed something, and is %+v", leg)
			}
			if hurt := leg.Timeouts > 0; hurt != (c.name != "nothing") {
				t.Errorf("the leg is charged %+v", leg)
			}
			if c.misses {
				if err := readVolume(client, data); err != nil {
					t.Error(err)
				}
			}
			s.terminate(h)

			s = p.serve()
			client = dial(t, p)
			if leg := p.anyStatus().Legs[1]; leg.State == "in sync" {
				t.Errorf("the leg missed the end, and is %+v", leg)
			}
			if err := readVolume(client, data); err != nil {
				t.Error(err)
			}
			s.terminate(h)
		})
	}
}

// The status is there while requests wait for a leg. One that answers before
// its deadline is as good as ever.
func TestStatusWhileALegHangs(t *testing.T) {
	h := newHangable(t, hangLeg)
	p := poolOn(t, longDeadline, filepath.Join(t.TempDir(), "sound"), h.path)
	data := someData(t)
	s := p.serve()
	c := dial(t, p)
	if err := writeVolume(c, data); err != nil {
		t.Fatal(err)
	}
	h.hang()
	var work errgroup.Group
	work.Go(c.flush)
	eventually(t, "a request in flight", func() bool {
		now := p.status()
		return len(now.NBD) == 1 && now.NBD[0].InFlight == 1
	})
	h.answer()
	if err := work.Wait(); err != nil {
		t.Errorf("the flush: %v", err)
	}
	// What the pool was made of may still be made equal.
	eventually(t, "the pool to be sound", func() bool { return p.status().State == "sound" })
	if now := p.status(); now.Legs[1].Timeouts != 0 {
		t.Errorf("the pool is %+v", now)
	}
	s.stop()
	legsEqual(t, p)
}

// The only leg stops answering: clients get errors, not silence; what was written
// stays in memory, and is on the leg when that answers again.
func TestOnlyLegHangs(t *testing.T) {
	h := newHangable(t, hangLeg)
	p := poolOn(t, shortDeadline, h.path)
	data := someData(t)
	s := p.serve()
	c := dial(t, p)
	half := hangVolume / 2
	if err := c.writeAt(data[:half], 0, 0); err != nil {
		t.Fatal(err)
	}
	h.hang()
	var refused nbdError
	if err := c.flush(); !errors.As(err, &refused) {
		t.Errorf("the flush says %v", err)
	}
	if err := c.readAt(make([]byte, 4096), int64(half)); !errors.As(err, &refused) {
		t.Errorf("a read of what is not in memory says %v", err)
	}
	if leg := p.anyStatus().Legs[0]; leg.State != "in sync" || leg.Timeouts == 0 {
		t.Errorf("the leg is %+v", leg)
	}
	h.answer()
	eventually(t, "a flush that succeeds", func() bool { return c.flush() == nil })
	s.kill()
	s = p.serve()
	got := make([]byte, half)
	if err := dial(t, p).readAt(got, 0); err != nil || !bytes.Equal(got, data[:half]) {
		t.Errorf("after a crash it does not read what was flushed (%v)", err)
	}
	s.terminate(h)
}

// With a leg that hangs from the start no command waits for it for long.
func TestLegHangsBeforeStart(t *testing.T) {
	h := newHangable(t, hangLeg)
	p := poolOn(t, shortDeadline, filepath.Join(t.TempDir(), "sound"), h.path)
	h.hang()
	for _, verb := range []string{"status", "check"} {
		out, stderr, err := try(t, p.bin, verb, p.dir)
		if err == nil || !strings.Contains(out+stderr, "does not answer") || !strings.Contains(out+stderr, h.path) {
			t.Errorf("%s: %v\n%s%s", verb, err, out, stderr)
		}
	}
	// The first leg of a pool that was closed goes on alone.
	s := p.serve()
	if err := dial(t, p).flush(); err != nil {
		t.Fatal(err)
	}
	s.terminate(h)

	// What had failed before is not needed.
	h.hang()
	s = p.serve()
	if err := dial(t, p).flush(); err != nil {
		t.Error(err)
	}
	s.terminate(h)
}
