package programs

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"holdfast.dev/holdfast/attach"
	"holdfast.dev/holdfast/internal/uffd"
)

// programs are what the processes run.
var programs = map[string]func(c *attach.Client, number int, r *rand.Rand) error{
	"chunks2006": chunks2006,
	"check2006":  check2006,
	"rtorrent":   rtorrent,
	"holetest":   holetest,
	"fsx":        fsxChild,
}

// In 2006 the last store to a page was lost, as a run: a file written through a
// shared mapping in chunks of 1460 bytes, each filled with its number, in random
// order, under memory pressure; unmapped, dropped, read back.
func TestChunks2006(t *testing.T) {
	variants(t, func(t *testing.T, m *machine) {
		m.run("chunks2006", 1)
		m.run("check2006", 1)
		m.close()
		m.open()
		m.run("check2006", 1)
	})
}

const chunk = 1460

func chunks2006(c *attach.Client, _ int, r *rand.Rand) error {
	v, err := c.Map("main", 0, 0, storing())
	if err != nil {
		return err
	}
	err = attach.Try(func() {
		for _, i := range r.Perm(len(v.Bytes()) / chunk) {
			p := v.Bytes()[i*chunk:][:chunk]
			for j := 0; j < chunk; j += 4 {
				binary.LittleEndian.PutUint32(p[j:], uint32(i))
			}
		}
	})
	if err != nil {
		return err
	}
	return v.Close()
}

func check2006(c *attach.Client, _ int, _ *rand.Rand) error {
	v, err := c.Map("main", 0, 0, attach.ReadOnly)
	if err != nil {
		return err
	}
	bad := error(nil)
	err = attach.Try(func() {
		for at := 0; at+chunk <= len(v.Bytes()); at += 4 {
			if got := binary.LittleEndian.Uint32(v.Bytes()[at:]); int(got) != at/chunk && at/chunk*chunk+chunk <= len(v.Bytes()) {
				bad = fmt.Errorf("chunk %d holds %d at byte %d", at/chunk, got, at%chunk)
				return
			}
		}
	})
	if err == nil {
		err = bad
	}
	return err
}

// rtorrent's pattern: never a write call; chunks of 64 pages are mapped and
// unmapped in turn, neighbours share a page, a sync goes on meanwhile.
func TestRtorrent(t *testing.T) {
	variants(t, func(t *testing.T, m *machine) {
		v := m.volume()
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if err := v.Sync(); err != nil {
						t.Error(err)
					}
				}
			}
		})
		m.run("rtorrent", 1)
		close(stop)
		wg.Wait()
		p := make([]byte, volumeSize)
		if _, err := v.ReadAt(p, 0); err != nil {
			t.Fatal(err)
		}
		for at := 0; at < torrentEnd; at += 512 {
			if want := torrentWord(at); binary.LittleEndian.Uint64(p[at:]) != want {
				t.Fatalf("byte %d holds %x, want %x", at, binary.LittleEndian.Uint64(p[at:]), want)
			}
		}
	})
}

const (
	torrentPages = 64
	torrentStep  = torrentPages*pageSize - pageSize/2 // half a page is the neighbour's
	torrentEnd   = volumeSize / torrentStep * torrentStep
)

func torrentWord(at int) uint64 { return uint64(at)*0x9e3779b97f4a7c15 | 1 }

func rtorrent(c *attach.Client, _ int, r *rand.Rand) error {
	for _, i := range r.Perm(torrentEnd / torrentStep) {
		first := i * torrentStep / pageSize * pageSize
		end := min((i+1)*torrentStep+pageSize-1, volumeSize) / pageSize * pageSize
		v, err := c.Map("main", int64(first), int64(end-first), storing())
		if err != nil {
			return err
		}
		err = attach.Try(func() {
			for at := i * torrentStep; at < (i+1)*torrentStep; at += 512 {
				binary.LittleEndian.PutUint64(v.Bytes()[at-first:], torrentWord(at))
			}
		})
		if err != nil {
			return err
		}
		if err := v.Close(); err != nil {
			return err
		}
	}
	return nil
}

const (
	holeProcesses = 3
	holeThreads   = 4
	holePages     = 2000
	holeSlot      = 8
)

// holetest: threads and processes each mark a place of their own in every page,
// some through write calls; every mark is there in the end (xfstests
// generic/340 and its kin).
func TestHoletest(t *testing.T) {
	variants(t, func(t *testing.T, m *machine) {
		v := m.volume()
		var wg sync.WaitGroup
		for thread := range holeThreads {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(*seedFlag, uint64(thread)))
				for _, page := range r.Perm(holePages) {
					p := binary.LittleEndian.AppendUint64(nil, holeMark(page, holeProcesses, thread))
					if _, err := v.WriteAt(p, holePlace(page, holeProcesses, thread)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		m.run("holetest", holeProcesses)
		wg.Wait()
		p := make([]byte, holePages*pageSize)
		if _, err := v.ReadAt(p, 0); err != nil {
			t.Fatal(err)
		}
		for page := range holePages {
			for process := range holeProcesses + 1 {
				for thread := range holeThreads {
					got := binary.LittleEndian.Uint64(p[holePlace(page, process, thread):])
					if want := holeMark(page, process, thread); got != want {
						t.Fatalf("page %d: thread %d of process %d marked %x, there is %x", page, thread, process, want, got)
					}
				}
			}
		}
	})
}

func holePlace(page, process, thread int) int64 {
	return int64(page*pageSize + (process*holeThreads+thread)*holeSlot)
}

func holeMark(page, process, thread int) uint64 {
	return uint64(page)<<16 | uint64(process)<<8 | uint64(thread) | 1<<63
}

func holetest(c *attach.Client, process int, r *rand.Rand) error {
	v, err := c.Map("main", 0, holePages*pageSize, storing())
	if err != nil {
		return err
	}
	errs := make(chan error, holeThreads)
	for thread := range holeThreads {
		order := r.Perm(holePages)
		go func() {
			errs <- attach.Try(func() {
				for _, page := range order {
					binary.LittleEndian.PutUint64(v.Bytes()[holePlace(page, process, thread):], holeMark(page, process, thread))
				}
			})
		}()
	}
	for range holeThreads {
		if e := <-errs; e != nil {
			err = e
		}
	}
	return err
}

// Programs run with one processor too, and with the collector always on: a
// thread that faults keeps its processor, and must not need another's help.
func TestOneProcessor(t *testing.T) {
	for _, mode := range []uffd.Mode{uffd.Announced, uffd.Async} {
		m := newMachine(t, "wait", mode)
		m.run("holetest", holeProcesses, "GOMAXPROCS=1", "GOGC=1")
	}
}
