package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
)

// scope is what has to be undone, last first.
type scope struct{ undo []func() error }

// later has f called when the scope ends.
func (s *scope) later(f func() error) { s.undo = append(s.undo, f) }

func (s *scope) close() error {
	var all []error
	for i := len(s.undo) - 1; i >= 0; i-- {
		all = append(all, s.undo[i]())
	}
	s.undo = nil
	return errors.Join(all...)
}

// host is the place where everything runs.
type host struct {
	ctx context.Context
	o   options
	// files is on the file system that is to be measured; run has sockets, whose
	// paths the kernel keeps short, and pools' directories, which hold some.
	files, run string
	scope
}

func newHost(ctx context.Context, o options) (*host, error) {
	for _, dir := range []string{o.out, o.dir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	h := &host{ctx: ctx, o: o}
	for _, d := range []struct {
		path   *string
		parent string
	}{{&h.files, o.dir}, {&h.run, ""}} {
		dir, err := os.MkdirTemp(d.parent, "hfbench-")
		if err == nil {
			dir, err = filepath.Abs(dir)
		}
		if err != nil {
			return nil, errors.Join(err, h.close())
		}
		*d.path = dir
		h.later(func() error { return os.RemoveAll(dir) })
	}
	return h, nil
}

// sub is a host whose scope is a part of h's, in folders of its own.
func (h *host) sub(name string) (*host, error) {
	s := &host{ctx: h.ctx, o: h.o, files: filepath.Join(h.files, name), run: filepath.Join(h.run, name)}
	for _, dir := range []string{s.files, s.run} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		s.later(func() error { return os.RemoveAll(dir) })
	}
	return s, nil
}
