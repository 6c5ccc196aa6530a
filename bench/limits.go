package main

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// limitThing is the one contestant of each experiment about the machine.
const limitThing = "this machine"

// The names of experiments about the machine.
const (
	copyHot      = limitOf + "copy of 4 KiB, hot"
	copyRandom   = limitOf + "copy of 4 KiB, random in the volume's size"
	crcHot       = limitOf + "CRC-32C of 4 KiB, hot"
	systemCall   = limitOf + "system call, as Go makes it"
	rawCall      = limitOf + "system call, raw"
	roundTrip    = limitOf + "round trip through a Unix socket"
	deviceRead   = limitOf + "bare file, read 1m qd4"
	deviceWrite  = limitOf + "bare file, write 1m qd4"
	deviceRandom = limitOf + "bare file, randread 4k qd32"
	deviceStores = limitOf + "bare file, randwrite 4k qd32"
	deviceFlush  = limitOf + "bare file, randwrite 4k, fdatasync each"
)

// deviceLimits go to one bare file with O_DIRECT.
var deviceLimits = []job{
	{name: deviceRead, rw: "read", blockSize: large, depth: 4},
	{name: deviceWrite, rw: "write", blockSize: large, depth: 4},
	{name: deviceRandom, rw: "randread", blockSize: page, depth: 32},
	{name: deviceStores, rw: "randwrite", blockSize: page, depth: 32},
	{name: deviceFlush, rw: "randwrite", blockSize: page, depth: 1, fsync: 1},
}

// quickLimits is how many of deviceLimits a quick run has.
const quickLimits = 1

func limitNames() []string {
	return append([]string{copyHot, copyRandom, crcHot, systemCall, rawCall, roundTrip}, jobNames(deviceLimits)...)
}

// openLimits measures what nobody can be faster than.
func openLimits(r *runner, h *host) ([]experiment, error) {
	memory, err := unix.Mmap(-1, 0, int(r.o.size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("memory of the volume's size: %w", err)
	}
	h.later(func() error { return unix.Munmap(memory) })
	ping, err := newEcho(h)
	if err != nil {
		return nil, err
	}
	var (
		from, to   = make([]byte, page), make([]byte, page)
		castagnoli = crc32.MakeTable(crc32.Castagnoli)
		sum        uint32
	)
	steps := []struct {
		name string
		step func(n int) error
	}{
		{copyHot, repeat(func() { copy(to, from) })},
		{copyRandom, repeat(func() { copy(to, memory[rand.Int64N(r.o.size/page)*page:]) })},
		{crcHot, repeat(func() { sum = crc32.Update(sum, castagnoli, from) })},
		{systemCall, repeat(func() { unix.Syscall(unix.SYS_GETPPID, 0, 0, 0) })},
		{rawCall, repeat(func() { unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0) })},
		{roundTrip, ping},
	}
	var all []experiment
	for _, s := range steps {
		all = append(all, experiment{s.name, []contestant{{limitThing, timed(r.o.runtime/4, s.step)}}})
	}
	if err := needFio(); err != nil {
		r.leaveOut("the limits of the device", err.Error())
		return all, nil
	}
	b, err := newBareFile(h, r.o.size)
	if err != nil {
		return nil, err
	}
	for _, j := range firstOf(deviceLimits, r.o.quick, quickLimits) {
		c := b.contestant(r, j)
		c.name = limitThing
		all = append(all, experiment{j.name, []contestant{c}})
	}
	return all, nil
}

func repeat(do func()) func(n int) error {
	return func(n int) error {
		for range n {
			do()
		}
		return nil
	}
}

// timed is a turn in which step is done for a time, in batches that make the
// clock's part small.
func timed(runtime time.Duration, step func(n int) error) func(context.Context, int) (figures, error) {
	const batch = 64
	return func(ctx context.Context, _ int) (figures, error) {
		count := 0
		began := time.Now()
		for time.Since(began) < runtime && ctx.Err() == nil {
			if err := step(batch); err != nil {
				return nil, err
			}
			count += batch
		}
		took := time.Since(began)
		return figures{
			operations: float64(count), nanos: float64(took) / float64(count), iops: float64(count) / took.Seconds(),
		}, nil
	}
}

// newEcho starts who sends back what it gets, and returns the step that asks.
func newEcho(h *host) (func(n int) error, error) {
	path := h.run + "/echo.sock"
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	h.later(l.Close)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		io.Copy(c, struct{ io.Reader }{c})
	}()
	c, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	h.later(c.Close)
	buf := make([]byte, 28) // as long as an NBD request
	return func(n int) error {
		for range n {
			if _, err := c.Write(buf); err != nil {
				return err
			}
			if _, err := io.ReadFull(c, buf); err != nil {
				return err
			}
		}
		return nil
	}, nil
}
