package programs

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast.dev/holdfast/attach"
	"holdfast.dev/holdfast/internal/uffd"
)

func init() { programs["stall"] = stall }

// stallPatience is after how long a program counts as hanging. The time that
// stores and loads take is printed, and judged by whoever reads it.
const stallPatience = 30 * time.Second

// With one processor on each side, and the collectors of both always at work, no
// store or load hangs; the test prints what the longest took.
func TestStall(t *testing.T) {
	t.Run("announced", func(t *testing.T) { stallIn(t, uffd.Announced) })
	t.Run("async", func(t *testing.T) { stallIn(t, uffd.Async) })
}

func stallIn(t *testing.T, mode uffd.Mode) {
	m := newMachine(t, "wait", mode)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	var wg sync.WaitGroup
	end := make(chan struct{})
	wg.Go(func() { litter(end) })
	cmd := m.start("stall", 0, "GOMAXPROCS=1", "GOGC=1")
	watchdog := time.AfterFunc(stormTime+stallPatience, func() { _ = cmd.Process.Kill() })
	out, err := cmd.Output()
	close(end)
	wg.Wait()
	if !watchdog.Stop() {
		t.Fatalf("a store or load hangs: the program has not ended after %v", stormTime+stallPatience)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, lastLine(out))
	}
	t.Log(strings.SplitN(string(out), "\n", 2)[0])
	m.close()
}

// litter makes garbage until end is closed.
func litter(end <-chan struct{}) {
	var last []byte
	for i := 0; ; i++ {
		select {
		case <-end:
			runtime.KeepAlive(last)
			return
		default:
			last = make([]byte, 64<<10)
		}
	}
}

// stall stores and loads all over the volume, and prints the longest that either
// took. The processor is shared with a goroutine that makes garbage, so what it
// takes by turns is in the figures.
func stall(c *attach.Client, _ int, r *rand.Rand) error {
	v, err := c.Map("main", 0, 0, storing())
	if err != nil {
		return err
	}
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { litter(end) })
	var longest [2]time.Duration
	count := 0
	var sum byte
	err = attach.Try(func() {
		for begin := time.Now(); time.Since(begin) < stormTime; count++ {
			at, store := r.IntN(len(v.Bytes())), count%2
			before := time.Now()
			if store == 1 {
				v.Bytes()[at] = byte(count)
			} else {
				sum += v.Bytes()[at]
			}
			longest[store] = max(longest[store], time.Since(before))
		}
	})
	close(end)
	wg.Wait()
	fmt.Printf("%d stores and loads; the longest load took %v, the longest store %v (%d)\n", count, longest[0], longest[1], sum)
	return err
}
