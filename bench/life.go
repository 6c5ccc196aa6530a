package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"holdfast.dev/holdfast/internal/config"
)

// The contestants of the experiments about a pool's life.
const (
	startSmall = "1GiB"
	startHuge  = "1TiB"
)

// openStart compares how long a server takes from its start to its first greeting,
// by the size of the volume. Its legs are sparse.
func openStart(r *runner, h *host) ([]experiment, error) {
	e := experiment{name: startOf}
	for _, c := range []struct {
		name string
		size int64
	}{{startSmall, 1 << 30}, {startHuge, 1 << 40}} {
		k := itself(r.o.holdfast)
		k.name = c.name
		s, err := newServer(h, k, c.size, 0, "")
		if err != nil {
			return nil, err
		}
		h.later(s.stop)
		e.contestants = append(e.contestants, contestant{c.name, func(ctx context.Context, _ int) (figures, error) {
			if err := s.start(ctx); err != nil {
				return nil, err
			}
			took := s.proc.ready
			return figures{seconds: took.Seconds()}, s.stop()
		}})
	}
	return []experiment{e}, nil
}

// openResync kills a server right after so many regions were written to, and
// counts what is copied.
func openResync(r *runner, h *host) ([]experiment, error) {
	if r.o.quick {
		return nil, nil
	}
	if err := needFio(); err != nil {
		return nil, err
	}
	// Marks are looked at often, so that the next turn need not wait long for those
	// of the last to go, and seldom enough not to lose one before the kill.
	k := variant{name: ourselves, period: "1s"}.kind(r.o.holdfast)
	all, err := r.servers(h, []kind{k}, r.o.size, 0, nil)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	s := all[0]
	status, err := s.status(h.ctx)
	if err != nil {
		return nil, err
	}
	e := experiment{name: resyncOf}
	for _, regions := range []int64{1, 8, 64} {
		if regions*status.RegionSize > r.o.size {
			continue
		}
		name := fmt.Sprintf("%d dirty regions of %v", regions, config.Size(status.RegionSize))
		e.contestants = append(e.contestants, contestant{name, func(ctx context.Context, round int) (figures, error) {
			return s.crash(ctx, regions, status.RegionSize, round)
		}})
	}
	return []experiment{e}, nil
}

// crash writes to each of the first regions, kills the server, and starts it
// again.
func (s *server) crash(ctx context.Context, regions, size int64, round int) (figures, error) {
	// Requests this long go home at once, under their regions' marks, and not to
	// the journal.
	j := job{
		name: resyncOf, rw: fmt.Sprintf("write:%d", size-middle), blockSize: middle, depth: 1, once: true,
		extra: []string{"--end_fsync=1", fmt.Sprintf("--io_size=%d", regions*middle)},
	}
	// What was written before is no longer marked.
	if _, err := s.await(ctx, func(p *poolStatus) bool { return p.Regions.Clean == p.Regions.Total }); err != nil {
		return nil, err
	}
	if _, err := fio(ctx, j, overNBD(s.uri()), regions*size, 0, round+1); err != nil {
		return nil, err
	}
	syscall.Kill(-s.proc.cmd.Process.Pid, syscall.SIGKILL)
	<-s.proc.ended
	s.proc = nil
	began := time.Now()
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	p, err := s.await(ctx, func(p *poolStatus) bool { return p.Resync.RegionsLeft == 0 })
	if err != nil {
		return nil, err
	}
	copied := float64(p.Resync.BytesRead + p.Resync.BytesWritten)
	return figures{
		seconds: time.Since(began).Seconds(), bytesCopied: copied, bytesPerRegion: copied / float64(regions),
	}, nil
}

// await polls the server's status until it is as wanted.
func (s *server) await(ctx context.Context, done func(*poolStatus) bool) (poolStatus, error) {
	for began := time.Now(); ; time.Sleep(10 * pollEvery) {
		p, err := s.status(ctx)
		if err != nil || done(&p) {
			return p, err
		}
		if time.Since(began) > commandTimeout {
			return p, errors.New("the pool does not become quiet")
		}
	}
}

// openMemory compares what servers with the volume in their own memory take for
// it.
func openMemory(r *runner, h *host) ([]experiment, error) {
	kinds := []kind{itself(r.o.holdfast)}
	for _, k := range peers {
		if k.volatile {
			kinds = append(kinds, k)
		}
	}
	all, err := r.servers(h, kinds, r.o.size, roomy(r.o.size), nil)
	if err != nil {
		return nil, err
	}
	e := experiment{name: memoryOf}
	for _, s := range all {
		e.contestants = append(e.contestants, contestant{s.name, func(context.Context, int) (figures, error) {
			n, err := residentSize(s.proc.cmd.Process.Pid)
			return figures{bytesPerCached: float64(n) / float64(s.size)}, err
		}})
	}
	return []experiment{e}, nil
}
