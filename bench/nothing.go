package main

import (
	"context"
	"errors"
	"net"
	"path/filepath"

	"holdfast.dev/holdfast/device"
	"holdfast.dev/holdfast/nbd"
)

// nothing is what fio reaches at the very most over this protocol and a socket: a
// server that answers at once, has no pages, and copies nothing but what the
// socket takes. No server over a volume can be far ahead of it.
type nothing struct{ size int64 }

func (n nothing) List() []nbd.Info                     { return []nbd.Info{{Name: volumeName, Size: n.size}} }
func (n nothing) Open(string) (nbd.Export, error)      { return n, nil }
func (n nothing) Size() int64                          { return n.size }
func (nothing) ReadAt(p []byte, _ int64) (int, error)  { return len(p), nil }
func (nothing) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (nothing) ReadScattered([]device.Part) error      { return nil }
func (nothing) TryReadAt([]byte, int64) bool           { return true }
func (nothing) TryWriteAt(p []byte, _ int64) int       { return len(p) }
func (nothing) Discard(int64, int64) error             { return nil }
func (nothing) WriteZeroes(int64, int64) error         { return nil }
func (nothing) Prefetch(int64, int64) error            { return nil }
func (nothing) Sync() error                            { return nil }
func (nothing) SyncRange(int64, int64) error           { return nil }
func (nothing) Close() error                           { return nil }

func (nothing) Extents(off, n int64, yield func(device.Extent) bool) error {
	yield(device.Extent{Off: off, Len: n})
	return nil
}

// nothingLimits are the jobs whose ceiling a bar meets first.
var nothingLimits = []job{
	{name: limitOf + "fio and a server of nothing, " + readDeep, rw: "randread", blockSize: page, depth: 32},
	{name: limitOf + "fio and a server of nothing, " + writeDeep, rw: "randwrite", blockSize: page, depth: 32},
}

// openNothing serves nothing from this process.
func openNothing(r *runner, h *host) ([]experiment, error) {
	l, err := net.Listen("unix", filepath.Join(h.run, "nothing.sock"))
	if err != nil {
		return nil, err
	}
	s := nbd.NewServer(nbd.Options{Exports: nothing{r.o.size}})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	h.later(func() error {
		if err := s.Shutdown(context.WithoutCancel(h.ctx)); err != nil {
			return err
		}
		if err := <-served; !errors.Is(err, nbd.ErrServerClosed) {
			return err
		}
		return nil
	})
	var all []experiment
	for _, j := range nothingLimits {
		all = append(all, experiment{j.name, []contestant{{limitThing, func(ctx context.Context, round int) (figures, error) {
			return fio(ctx, j, overNBD(nbdURI(volumeName, l.Addr().String())).apart(r.o.apart), r.o.size, r.o.runtime, round+1)
		}}}})
	}
	return all, nil
}
