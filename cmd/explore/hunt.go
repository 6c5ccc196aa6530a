//go:build explore

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"

	"holdfast.dev/holdfast/explore"
	"holdfast.dev/holdfast/internal/mutant"
)

// hunt does the jobs side by side, each in a process of its own, prints what comes of
// them, and returns the exit status.
func hunt(o *options, jobs []job, out, errs io.Writer) int {
	n := o.Jobs
	if n <= 0 {
		n = runtime.NumCPU()
	}
	var (
		group errgroup.Group
		mu    sync.Mutex
		t     = table{o: o, out: out}
	)
	if !o.JSON {
		fmt.Fprintf(out, "seed %d\n\n", o.Seed)
	}
	group.SetLimit(n)
	for _, j := range jobs {
		group.Go(func() error {
			results, err := j.apart(o)
			mu.Lock()
			defer mu.Unlock()
			t.add(j, results)
			return err
		})
	}
	err := group.Wait()
	if err != nil {
		fmt.Fprintf(errs, "explore: %v\n", err)
	}
	if bad := t.end(); bad || err != nil {
		return exitFailure
	}
	return exitOK
}

// apart does a job in another process.
func (j job) apart(o *options) (results []explore.Result, err error) {
	args := []string{"--search", "--preemptions", strconv.Itoa(o.Preemptions), "--more", strconv.Itoa(o.More),
		"--seed", strconv.FormatUint(o.Seed, 10), "--limit", o.Limit.String()}
	if j.mutant != "" {
		args = append(args, "--mutant", j.mutant)
	}
	if len(j.scenarios) == 1 {
		args = append(args, "--scenario", j.scenarios[0].Name)
	}
	c := exec.Command("/proc/self/exe", args...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out, log bytes.Buffer
	c.Stdout, c.Stderr = &out, &log
	// The thread that starts it has to live as long as it does: see Pdeathsig.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("the search for %s: %w\n%s", j, err, log.Bytes())
	}
	for d := json.NewDecoder(&out); ; {
		var r explore.Result
		if err := d.Decode(&r); err == io.EOF {
			return results, nil
		} else if err != nil {
			return nil, fmt.Errorf("the search for %s: %w", j, err)
		}
		results = append(results, r)
	}
}

func (j job) String() string {
	if j.mutant != "" {
		return "mutant " + j.mutant
	}
	return "scenario " + j.scenarios[0].Name
}

// mistake is what a mutant does wrong.
func mistake(name string) (what, breaks string) {
	for _, m := range mutant.All {
		if m.Name == name {
			return m.Mistake, m.Breaks
		}
	}
	return "", ""
}
