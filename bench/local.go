package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"holdfast.dev/holdfast"
)

// The contestants in one process.
const (
	readAt     = "ReadAt"
	pinned     = "pin, look, release"
	view       = "look through a pin that is held"
	pread      = "pread"
	writeAt    = "WriteAt"
	pwrite     = "pwrite"
	pwriteTmp  = "pwrite, tmpfs"
	window     = "holdfast mapped"
	mappedFile = "MAP_SHARED file"
)

// lookBytes is how much of a page is looked at where nothing copies it: who has
// the page itself reads what he needs.
const lookBytes = 8

// heldShare is which part of the volume is pinned at once: a pool allows a quarter
// of what may be dirty.
const heldShare = 8

// local is a volume of ours and files of the kernel's, in this process.
type local struct {
	size   int64
	pool   *holdfast.Pool
	volume *holdfast.Volume
	file   *os.File // on the file system that legs are on
	memory *os.File // on tmpfs; nil if there is none
	buf    []byte
	random *rand.Rand
	sum    uint64 // of what was looked at, so that it is looked at
}

// newLocal opens a pool, and makes files, all filled and in memory.
func newLocal(ctx context.Context, s *scope, dir, run string, size int64) (_ *local, err error) {
	l := &local{size: size, buf: make([]byte, page), random: rand.New(rand.NewPCG(1, 2))}
	defer func() {
		if err != nil {
			err = fmt.Errorf("in process: %w", err)
		}
	}()
	if err := l.openPool(s, dir, run); err != nil {
		return nil, err
	}
	fillRandom(l.buf)
	for off := int64(0); off < size; off += page {
		binary.LittleEndian.PutUint64(l.buf, uint64(off)+1)
		if _, err := l.volume.WriteAt(l.buf, off); err != nil {
			return nil, err
		}
	}
	if l.file, err = filledFile(ctx, s, dir, size); err != nil {
		return nil, err
	}
	var fs unix.Statfs_t
	const tmpfs = "/dev/shm"
	if err := unix.Statfs(tmpfs, &fs); err == nil && fs.Type == unix.TMPFS_MAGIC && int64(fs.Bavail)*fs.Bsize > 2*size {
		if l.memory, err = filledFile(ctx, s, tmpfs, size); err != nil {
			return nil, err
		}
	}
	return l, l.volume.Sync()
}

func (l *local) openPool(s *scope, dir, run string) error {
	pool := filepath.Join(run, "pool")
	legs := []string{filepath.Join(dir, "leg0"), filepath.Join(dir, "leg1")}
	if err := holdfast.Create(pool, holdfast.CreateOptions{Legs: legs, Size: l.size, Volume: volumeName}); err != nil {
		return err
	}
	var err error
	l.pool, err = holdfast.Open(pool, holdfast.Options{Budget: roomy(l.size), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	s.later(l.pool.Close)
	if l.volume, err = l.pool.Volume(volumeName); err != nil {
		return err
	}
	s.later(l.volume.Close)
	return nil
}

// filledFile makes a file that goes with the scope.
func filledFile(ctx context.Context, s *scope, dir string, size int64) (*os.File, error) {
	f, err := os.CreateTemp(dir, "hfbench-")
	if err != nil {
		return nil, err
	}
	s.later(func() error { return errors.Join(f.Close(), os.Remove(f.Name())) })
	return f, fillFile(ctx, f.Name(), size)
}

// anyPage is the offset of some page.
func (l *local) anyPage() int64 { return l.random.Int64N(l.size/page) * page }

// look reads a little of a page.
func (l *local) look(p []byte) { l.sum += binary.LittleEndian.Uint64(p[:lookBytes]) }

// localCase is something that is done to pages, one after the other.
type localCase struct {
	name string
	step func(n int) error
	// begin is called before a turn, and what it returns after it.
	begin  func() (end func(), err error)
	settle func() error // nil: it leaves nothing to be written
}

// reads are the cases of readInside.
func (l *local) reads() []localCase {
	var held []byte
	return []localCase{
		{name: readAt, step: l.each(func(off int64) error {
			_, err := l.volume.ReadAt(l.buf, off)
			return err
		})},
		{name: pread, step: l.each(func(off int64) error {
			_, err := unix.Pread(int(l.file.Fd()), l.buf, off)
			return err
		})},
		{name: pinned, step: l.each(func(off int64) error {
			p, err := l.volume.Pin(off, page, holdfast.PinRead)
			if err != nil {
				return err
			}
			l.look(p.Bytes())
			p.Release()
			return nil
		})},
		{
			name: view,
			begin: func() (func(), error) {
				p, err := l.volume.Pin(0, l.size/heldShare, holdfast.PinRead)
				if err != nil {
					return nil, err
				}
				held = p.Bytes()
				return p.Release, nil
			},
			step: l.each(func(off int64) error {
				l.look(held[off%int64(len(held)):])
				return nil
			}),
		},
	}
}

// writes are the cases of writeInside.
func (l *local) writes() []localCase {
	into := func(f *os.File) func(n int) error {
		fd := int(f.Fd())
		return l.each(func(off int64) error {
			_, err := unix.Pwrite(fd, l.buf, off)
			return err
		})
	}
	all := []localCase{
		{name: writeAt, settle: l.volume.Sync, step: l.each(func(off int64) error {
			_, err := l.volume.WriteAt(l.buf, off)
			return err
		})},
		{name: pwrite, settle: l.file.Sync, step: into(l.file)},
	}
	if l.memory != nil {
		all = append(all, localCase{name: pwriteTmp, step: into(l.memory)})
	}
	return all
}

// each does something to n pages at random.
func (l *local) each(do func(off int64) error) func(n int) error {
	return func(n int) error {
		for range n {
			if err := do(l.anyPage()); err != nil {
				return err
			}
		}
		return nil
	}
}

// contestants have cases take turns.
func contestants(cases []localCase, runtime time.Duration) (all []contestant) {
	for _, c := range cases {
		turn := timed(runtime, c.step)
		all = append(all, contestant{c.name, func(ctx context.Context, round int) (figures, error) {
			if c.begin != nil {
				end, err := c.begin()
				if err != nil {
					return nil, err
				}
				defer end()
			}
			f, err := turn(ctx, round)
			if err == nil && c.settle != nil {
				err = c.settle()
			}
			return f, err
		}})
	}
	return all
}

// openLocal compares calls and mappings in a process with those of the kernel.
func openLocal(r *runner, h *host) ([]experiment, error) {
	l, err := newLocal(h.ctx, &h.scope, h.files, h.run, r.o.size)
	if err != nil {
		return nil, err
	}
	if l.memory == nil {
		r.leaveOut(pwriteTmp, "there is no tmpfs with room at /dev/shm")
	}
	all := []experiment{
		{readInside, contestants(l.reads(), r.o.runtime)},
		{writeInside, contestants(l.writes(), r.o.runtime)},
	}
	maps, err := l.mappings(h, r.o.runtime)
	if err != nil {
		r.leaveOut("mappings", err.Error())
		return all, nil
	}
	return append(all, maps...), nil
}
