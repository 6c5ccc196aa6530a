package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// groups are memory limits of the kernel, one for each server.
type groups struct {
	h    *host
	root string // of the hierarchy
	file string // that holds a group's limit
}

// newGroups finds out which of the kernel's two interfaces can be used.
func newGroups(h *host) (*groups, error) {
	var all []error
	for _, g := range []groups{
		{h, "/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
		{h, "/sys/fs/cgroup", "memory.max"},
	} {
		probe := filepath.Join(g.root, fmt.Sprintf("hfbench-%d", os.Getpid()))
		err := os.Mkdir(probe, 0o755)
		if err == nil {
			_, err = os.Stat(filepath.Join(probe, g.file))
			os.Remove(probe)
		}
		if err == nil {
			return &g, nil
		}
		all = append(all, err)
	}
	return nil, fmt.Errorf("no memory limits can be set: %w", errors.Join(all...))
}

// limit makes a group and returns the file that a process joins it by.
func (g *groups) limit(name string, size int64) (string, error) {
	dir := filepath.Join(g.root, fmt.Sprintf("hfbench-%d-%s", os.Getpid(), filepath.Base(name)))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	g.h.later(func() error { return removeGroup(dir) })
	return filepath.Join(dir, "cgroup.procs"), os.WriteFile(filepath.Join(dir, g.file), fmt.Append(nil, size), 0o644)
}

// removeGroup waits until the last process is gone from it.
func removeGroup(dir string) error {
	for began := time.Now(); ; time.Sleep(pollEvery) {
		err := os.Remove(dir)
		if err == nil || time.Since(began) > stopTimeout {
			return err
		}
	}
}
