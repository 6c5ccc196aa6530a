package programs

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"holdfast.dev/holdfast"
	"holdfast.dev/holdfast/attach"
	"holdfast.dev/holdfast/internal/uffd"
)

func init() {
	programs["storm"] = storm
	programs["raw"] = raw
}

// stormTime is how long processes store as fast as they can. It is a budget, not
// a bound on anything.
const stormTime = 2 * time.Second

// Processes store to the same pages as fast as they can, pins do, and write
// calls, until they are killed where they stand. Whatever was under write-out at
// any moment, the legs are equal.
func TestStorm(t *testing.T) {
	variants(t, func(t *testing.T, m *machine) {
		end := make(chan struct{})
		var wg sync.WaitGroup
		m.disturb(&wg, end)
		var processes []*os.Process
		for i := range 2 {
			cmd := m.start("storm", i)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			processes = append(processes, cmd.Process)
			wg.Go(func() { _ = cmd.Wait() })
		}
		time.Sleep(stormTime)
		for _, p := range processes {
			_ = p.Kill()
		}
		close(end)
		wg.Wait()
		m.close()
	})
}

// A process that writes to the memory behind the server's back harms only its
// own bytes: the legs are equal, and it is counted in its name, not a device's.
// Where stores are not announced nobody can tell it from them.
func TestBehindTheBack(t *testing.T) {
	t.Run("announced", func(t *testing.T) { behindTheBack(t, uffd.Announced) })
	t.Run("async", func(t *testing.T) { behindTheBack(t, uffd.Async) })
}

func behindTheBack(t *testing.T, mode uffd.Mode) {
	if os.Geteuid() != 0 {
		t.Skip("only root can open /proc/self/map_files, which is the way behind the back that this test takes")
	}
	m := newMachine(t, "wait", mode)
	end := make(chan struct{})
	var wg sync.WaitGroup
	m.disturb(&wg, end)
	done := make(chan struct{})
	wg.Go(func() { m.run("raw", 1); close(done) })
	named := false
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
			for _, w := range m.pool.Status().Mapped {
				named = named || w.Unannounced > 0 && w.Writable && int(w.PID) != os.Getpid()
			}
			time.Sleep(time.Millisecond)
		}
	}
	close(end)
	wg.Wait()
	s := m.pool.Status()
	if mode == uffd.Announced && (s.Cache.Unannounced == 0 || !named) {
		t.Errorf("%d changes were counted as unannounced, in the client's name: %v", s.Cache.Unannounced, named)
	}
	for _, l := range s.Legs {
		if l.ReadErrors+l.WriteErrors != 0 {
			t.Errorf("leg %s was charged", l.Name)
		}
	}
	m.closeChanged()
}

// disturb keeps write calls, syncs and pins at work on the first pages.
func (m *machine) disturb(wg *sync.WaitGroup, end <-chan struct{}) {
	v := m.volume()
	task := func(f func(r *rand.Rand) error) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(*seedFlag, 9))
			for {
				select {
				case <-end:
					return
				default:
					if err := f(r); err != nil {
						m.t.Error(err)
						return
					}
				}
			}
		})
	}
	task(func(r *rand.Rand) error {
		_, err := v.WriteAt(make([]byte, 1+r.IntN(9000)), r.Int64N(stormPages*pageSize))
		return err
	})
	task(func(r *rand.Rand) error { return v.Sync() })
	task(func(r *rand.Rand) error {
		p, err := v.Pin(r.Int64N(stormPages)*pageSize, 8*pageSize, holdfast.PinWrite)
		if err != nil {
			return err
		}
		for i := range 2000 {
			p.Bytes()[r.IntN(8*pageSize)] = byte(i)
		}
		p.Release()
		return nil
	})
}

const stormPages = 64

// storm stores until it is killed.
func storm(c *attach.Client, _ int, r *rand.Rand) error {
	v, err := c.Map("main", 0, 2*stormPages*pageSize, storing())
	if err != nil {
		return err
	}
	return attach.Try(func() {
		for i := byte(0); ; i++ {
			v.Bytes()[r.IntN(len(v.Bytes()))] = i
		}
	})
}

// raw writes through the descriptor of the memory, which no page table guards.
func raw(c *attach.Client, _ int, r *rand.Rand) error {
	v, err := c.Map("main", 0, 2*stormPages*pageSize, storing())
	if err != nil {
		return err
	}
	at := uintptr(unsafe.Pointer(&v.Bytes()[0]))
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/map_files/%x-%x", at, at+uintptr(len(v.Bytes()))), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	p := make([]byte, 512)
	for until := time.Now().Add(stormTime); time.Now().Before(until); {
		p[r.IntN(512)]++
		if _, err := unix.Pwrite(int(f.Fd()), p, r.Int64N(2*stormPages*pageSize/512)*512); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	return v.Close()
}
