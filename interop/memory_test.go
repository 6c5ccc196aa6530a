package interop

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const mib = 1 << 20

// memory is what a process takes, in bytes.
type memory struct {
	resident int64 // VmRSS: anonymous memory, shared memory and the program
	pages    int64 // what its memfds hold, mapped or not
}

func (m memory) String() string {
	return fmt.Sprintf("%.1f MiB resident, %.1f MiB in memfds", float64(m.resident)/mib, float64(m.pages)/mib)
}

// total bounds what the process takes from above: memfd pages that are mapped
// are in both figures.
func (m memory) total() int64 { return m.resident + m.pages }

// memory measures the server.
func (s *server) memory() (m memory, err error) {
	proc := fmt.Sprintf("/proc/%d", s.cmd.Process.Pid)
	text, err := os.ReadFile(proc + "/status")
	if err != nil {
		return m, err
	}
	for in := bufio.NewScanner(bytes.NewReader(text)); in.Scan(); {
		if value, ok := strings.CutPrefix(in.Text(), "VmRSS:"); ok {
			if _, err := fmt.Sscanf(value, "%d kB", &m.resident); err != nil {
				return m, err
			}
			m.resident *= 1024
		}
	}
	fds, err := os.ReadDir(proc + "/fd")
	if err != nil {
		return m, err
	}
	for _, fd := range fds {
		path := filepath.Join(proc, "fd", fd.Name())
		if link, err := os.Readlink(path); err != nil || !strings.HasPrefix(link, "/memfd:") {
			continue
		}
		var st syscall.Stat_t
		if err := syscall.Stat(path, &st); err != nil {
			return m, err
		}
		m.pages += st.Blocks * 512
	}
	return m, nil
}

// A large volume costs no more to open than a small one: the aim is below
// 100 ms and 64 MiB for 64 GiB. The time is compared with that of a small volume
// on the same machine in the same minute, and not with the clock.
func TestOpenLargeVolume(t *testing.T) {
	opening := func(size string) (time.Duration, memory) {
		p := newPool(t, poolOptions{size: size})
		best, most := time.Duration(1<<62), memory{}
		for range 5 {
			s := p.serve()
			m, err := s.memory()
			if err != nil {
				t.Fatal(err)
			}
			if m.total() > most.total() {
				most = m
			}
			best = min(best, s.started)
			s.stop()
		}
		t.Logf("%s: ready in %.1f ms, %v", size, float64(best)/float64(time.Millisecond), most)
		return best, most
	}
	small, _ := opening("1GiB")
	large, m := opening("64GiB")
	if m.total() > 64*mib {
		t.Errorf("a volume of 64 GiB takes %v to open, more than 64 MiB", m)
	}
	// Were the time to follow the size, it would be 64 times as long.
	if large > 8*small+100*time.Millisecond {
		t.Errorf("opening follows the volume's size: 1 GiB takes %v, 64 GiB %v", small, large)
	}
}

// H11: the cache keeps to its budget however much is written through it.
func TestBudgetHolds(t *testing.T) {
	slow(t, "a minute")
	const (
		budget  = 64 * mib
		written = 4 << 30
		// besides is what the server takes apart from pages: the program, Go's
		// heap, requests in flight.
		besides = 64 * mib
	)
	p := newPool(t, poolOptions{size: "4GiB", budget: "64MiB"})
	s := p.serve()
	c := dial(t, p)

	stop, sampled := make(chan struct{}), make(chan memory)
	go func() {
		var most memory
		for {
			if m, err := s.memory(); err == nil {
				most.resident = max(most.resident, m.resident)
				most.pages = max(most.pages, m.pages)
			}
			select {
			case <-stop:
				sampled <- most
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	err := writeStamped(c, written)
	if err == nil {
		err = c.flush()
	}
	if err == nil {
		err = checkStamped(c, written)
	}
	close(stop)
	most := <-sampled
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("at most %v while 4 GiB went through a budget of 64 MiB", most)
	if most.pages > budget {
		t.Errorf("the cache held %.1f MiB of pages, its budget is 64 MiB", float64(most.pages)/mib)
	}
	if most.pages == 0 {
		t.Error("no page was ever seen in a memfd: the test does not see the cache")
	}
	if most.resident > budget+besides {
		t.Errorf("%v: more than the budget of 64 MiB and 64 MiB besides", most)
	}
	c.close()
	s.stop()
}
