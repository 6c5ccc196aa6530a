package interop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// killRounds is how often the server is killed in a row.
	killRounds = 20
	// killAfter bounds the random time until a kill. Recovery is as interesting
	// as running, so it is short.
	killAfter = 1200 * time.Millisecond

	// ledgerSize is the part at the beginning of the volume that the ledger
	// knows: small, so that blocks are written again and again. fio, if it is
	// there, writes to a part of its own in the middle.
	ledgerSize = 24 << 20
	loadStart  = 512 << 20
	loadSize   = 64 << 20

	killConnections = 2
	// killWriters share the cells, each with a contiguous part of its own.
	killWriters = 16
	// cellsMost is the most cells that one request writes.
	cellsMost = 24
)

// kill -9, twenty times in a row at random moments while the volume is written:
// what was flushed is there, nothing is a mix (H1, H2), the legs become equal
// (H3), and what recovery copies follows the regions that were dirty (H4).
func TestKill(t *testing.T) {
	slow(t, "a minute")
	for _, stability := range []string{"wait", "copy"} {
		t.Run(stability, func(t *testing.T) {
			random := newRandom(seed(t))
			p := newPool(t, poolOptions{size: "1GiB", build: checked})
			// Everything happens often: writing out, and clearing of regions.
			p.configure(fmt.Sprintf(`
[cache]
budget = "32MiB"
dirty_age = "200ms"
[region_log]
period = "200ms"
[volumes.%s]
stability = %q
`, volumeName, stability))
			l := newLedger(ledgerSize)
			s := p.serve()
			for round := range killRounds {
				workUntilKilled(t, s, l, random, randomTime(random, killAfter))
				s = recoverFromKill(t, p, l, random, round)
			}
			s.stop()
		})
	}
}

// recoverFromKill serves the pool again and checks everything.
func recoverFromKill(t *testing.T, p *pool, l *ledger, random *random, round int) *server {
	t.Helper()
	s := p.serve()
	if random.IntN(3) == 0 {
		// Recovery itself is cut off now and then, and starts again.
		time.Sleep(randomTime(random, killAfter/8))
		s.kill()
		s = p.serve()
	}
	verifyAll(t, s, l, "while the legs are made equal")
	recovered := awaitResync(s)
	verifyAll(t, s, l, "after the legs were made equal")
	t.Logf("round %d: %s", round, recovered)
	if round%5 == 4 {
		// A check needs the pool closed, which is also a test of closing.
		s.stop()
		legsEqual(t, p)
		s = p.serve()
		verifyAll(t, s, l, "after a clean stop")
	}
	return s
}

func randomTime(random *random, below time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(below)))
}

// awaitResync waits until the legs are equal and says what that took. Each leg
// may be read and written as far as its regions were dirty, and no further (H4).
func awaitResync(s *server) string {
	s.t.Helper()
	var now status
	eventually(s.t, "the end of the resync", func() bool {
		now = s.pool.status()
		return now.Resync.RegionsLeft == 0
	})
	r, legs := now.Resync, int64(len(s.pool.legs))
	dirty := r.RegionsDone * now.RegionSize
	if most := legs * dirty; r.BytesRead > most || r.BytesWritten > most {
		s.t.Errorf("resync read %d bytes and wrote %d for %d dirty on each of %d legs", r.BytesRead, r.BytesWritten, dirty, legs)
	}
	// Nothing else was ever written. A region at either end of a part may be
	// shared with what lies beside it, and the volume's table has one.
	if written := int64(ledgerSize + loadSize); dirty > written+5*now.RegionSize {
		s.t.Errorf("%d bytes were taken for dirty, though only %d were ever written", dirty, written)
	}
	return fmt.Sprintf("%d dirty regions, %.1f MiB; resync read %.1f MiB and wrote %.1f MiB", r.RegionsDone,
		float64(dirty)/mib, float64(r.BytesRead)/mib, float64(r.BytesWritten)/mib)
}

// workUntilKilled writes over several connections and kills the server after d.
func workUntilKilled(t *testing.T, s *server, l *ledger, random *random, d time.Duration) {
	t.Helper()
	w := startWork(t, s, l, random)
	time.Sleep(d)
	s.kill()
	w.stop()
}

// work writes to a volume, until the server ends or stop is called.
type work struct {
	t       *testing.T
	group   errgroup.Group
	clients []*client
	cancel  context.CancelFunc
}

func startWork(t *testing.T, s *server, l *ledger, random *random) *work {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &work{t: t, cancel: cancel}
	t.Cleanup(cancel)
	if _, err := find("fio"); err == nil {
		load := command(ctx, t, "fio", fioLoad(s.pool, loadStart, loadSize)...)
		load.Stdout, load.Stderr = io.Discard, io.Discard
		if err := load.Start(); err != nil {
			t.Fatal(err)
		}
		w.group.Go(func() error {
			// It fails, because the server is killed beneath it.
			load.Wait()
			return nil
		})
	}
	for range killConnections {
		w.clients = append(w.clients, dial(t, s.pool))
	}
	for i := range killWriters {
		own := newRandom(random.Int64())
		first, end := len(l.cells)*i/killWriters, len(l.cells)*(i+1)/killWriters
		w.group.Go(func() error { return writeCells(w.clients[i%len(w.clients)], l, own, first, end) })
	}
	return w
}

// stop ends what still works.
func (w *work) stop() {
	w.t.Helper()
	w.cancel()
	for _, c := range w.clients {
		c.close()
	}
	if err := w.group.Wait(); err != nil {
		w.t.Fatal(err)
	}
}

// writeCells writes random runs of cells [first, end) until the connection is
// lost.
func writeCells(c *client, l *ledger, random *random, first, end int) error {
	for {
		var err error
		switch dice := random.IntN(40); {
		case dice == 0:
			covered := l.written()
			if err = c.flush(); err == nil {
				l.flushed(covered)
			}
		default:
			from := first + random.IntN(end-first)
			to := min(end, from+1+random.IntN(cellsMost))
			err = writeRun(c, l, from, to, dice)
		}
		if errors.Is(err, errConnection) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// writeRun writes cells [from, to) in one of the ways that there are.
func writeRun(c *client, l *ledger, from, to, dice int) error {
	zero, fua := dice < 4, dice%4 == 1
	cmd, flags := uint16(cmdWrite), uint16(0)
	switch {
	case dice == 2:
		cmd = cmdTrim
	case zero:
		cmd = cmdWriteZeroes
	}
	if fua {
		flags = flagFUA
	}
	data := l.issue(from, to, zero)
	off := l.cells[from].off
	size := l.cells[to-1].off + l.cells[to-1].size - off
	if err := c.call(cmd, flags, off, size, data, nil); err != nil {
		return err
	}
	l.acknowledge(from, to, fua)
	return nil
}

// verifyAll reads every cell of the ledger.
func verifyAll(t *testing.T, s *server, l *ledger, when string) {
	t.Helper()
	c := dial(t, s.pool)
	defer c.close()
	buf := make([]byte, ledgerSize)
	err := eachRequest(ledgerSize, func(_ []byte, off int64) error {
		return c.readAt(buf[off:off+stampedRequest], off)
	})
	if err != nil {
		t.Fatalf("reading %s: %v", when, err)
	}
	wrong := 0
	for i := range l.cells {
		cell := &l.cells[i]
		if err := l.verify(i, buf[cell.off:cell.off+cell.size]); err != nil {
			if wrong++; wrong <= 10 {
				t.Errorf("%s: %v", when, err)
			}
		}
	}
	if wrong > 0 {
		t.Fatalf("%s: %d of %d cells are wrong", when, wrong, len(l.cells))
	}
}
