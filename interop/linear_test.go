package interop

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"golang.org/x/sync/errgroup"
)

const (
	// linearShort is how long it takes if nobody says: some ten rounds of each part.
	linearShort = time.Minute
	// linearPause bounds the random time until a round ends. The longer, the longer
	// the histories, and checking takes as long again.
	linearPause = 600 * time.Millisecond
	// linearHang bounds how long a leg hangs: often beyond its deadline.
	linearHang = 2 * time.Second
	// linearCheck is far more than checking a sector takes. A history that is not
	// decided by then is a failure.
	linearCheck = 30 * time.Second

	// The cache is too small for what is read to have resting spots leave memory.
	linearVolume        = "64MiB"
	crowdFrom, crowdEnd = 24 << 20, 56 << 20
)

// linearParts are the pools on which histories are made.
var linearParts = []struct {
	name  string
	hangs bool // its only leg hangs now and then; or a leg of two is failed
	how   string
}{
	{"waits", false, "[journal]\nmode = \"auto\"\n[volumes.main]\nstability = \"wait\"\n"},
	{"copies, all in the journal", false, "[journal]\nmode = \"always\"\n[volumes.main]\nstability = \"copy\"\n"},
	{"copies, no journal", false, "[journal]\nmode = \"never\"\n[volumes.main]\nstability = \"copy\"\n"},
	{"errors", true, ""},
}

// linear is a pool of which each sector has a history.
type linear struct {
	t      *testing.T
	random *random
	pool   *pool
	server *server
	only   *hangable // the only leg, or nil
	failed int       // which leg is set aside, or -1
	round  int
	// found is what every sector held when the last round was over.
	found []porcupine.Operation

	sectors, ops, maybe int
	checking            time.Duration
}

// Many clients read, write, zero and flush a few sectors at the same time, and
// the server is killed: each sector goes through its versions one by one, in an
// order that all clients see, and that no crash turns back beyond a flush (H1,
// H2). In all it takes as long as HOLDFAST_LINEAR says, which make linear sets.
func TestLinearizable(t *testing.T) {
	slow(t, "a minute")
	for _, part := range linearParts {
		t.Run(part.name, func(t *testing.T) {
			l := &linear{t: t, random: newRandom(seed(t)), failed: -1}
			if part.hangs {
				l.only = newHangable(t, hangLeg)
				l.pool = poolOn(t, shortDeadline, l.only.path)
			} else {
				l.pool = newPool(t, poolOptions{size: linearVolume, build: checked})
			}
			l.run(lastingOf(t, "HOLDFAST_LINEAR", linearShort)/time.Duration(len(linearParts)), part.how)
		})
	}
}

func (l *linear) run(lasting time.Duration, how string) {
	deadline := ""
	if l.only != nil {
		deadline = fmt.Sprintf("deadline = %q\n", shortDeadline)
	}
	// Everything happens often: writing out, and clearing of regions.
	l.pool.configure(deadline + `
[cache]
budget = "16MiB"
dirty_age = "20ms"
[region_log]
period = "50ms"
` + how)
	l.server = l.pool.serve()
	l.found = l.readAll(clock(time.Now()))
	for begin := time.Now(); time.Since(begin) < lasting; l.round++ {
		l.check(l.history())
	}
	if l.failed >= 0 {
		l.attach()
		l.awaitSound()
	}
	l.server.stop() // and the legs are equal
	l.t.Logf("%d rounds: %d histories of sectors, of %d requests, of which %d may or may not have been done; checked in %.1f s",
		l.round, l.sectors, l.ops, l.maybe, l.checking.Seconds())
}

// history makes the history of one round: what was found, what was asked, the end
// of the server, and what is found after it.
func (l *linear) history() []porcupine.Operation {
	c := clock(time.Now())
	history := slices.Clone(l.found)
	for i := range history {
		in := history[i].Input.(input)
		in.kind, in.name = kindFound, "found"
		history[i].Input, history[i].Call, history[i].Return = in, 0, 0
	}
	history = append(history, l.work(c)...)
	l.server = l.pool.serve()
	l.found = l.readAll(c)
	if l.random.IntN(4) == 0 {
		// Recovery is cut off, and starts again.
		time.Sleep(randomTime(l.random, linearPause/4))
		l.server.kill()
		history = append(append(history, l.found...), linearEnd(kindCrash, "killed", c.now()))
		l.server = l.pool.serve()
		l.found = l.readAll(c)
	}
	return append(history, l.found...)
}

// linearEnd is the end of a server.
func linearEnd(kind kind, name string, at int64) porcupine.Operation {
	return porcupine.Operation{ClientId: linearWriters, Call: at, Return: at, Input: input{kind: kind, name: name}, Output: output{}}
}

// work has the writers at work until the server has ended. What is not answered
// by then was done before the end, or not at all.
func (l *linear) work(c clock) []porcupine.Operation {
	var links [linearConnections]*link
	for i := range links {
		links[i] = &link{pool: l.pool}
		defer links[i].close()
	}
	spots := make([]int, spotsAtOnce)
	for i, s := range l.random.Perm(len(linearSpots))[:spotsAtOnce] {
		spots[i] = linearSpots[s]
	}
	var group errgroup.Group
	var writers [linearWriters]*linearWriter
	for i := range writers {
		w := &linearWriter{id: i, round: l.round, random: newRandom(l.random.Int64()), clock: c,
			link: links[i%len(links)], tears: l.only == nil, spots: spots}
		writers[i] = w
		group.Go(func() error { w.work(); return nil })
	}
	var over atomic.Bool
	if l.only == nil {
		reader := dial(l.t, l.pool)
		defer reader.close()
		group.Go(func() error { return crowd(reader, &over) })
	}
	l.misfortune()
	over.Store(true)
	end := l.end()
	if err := group.Wait(); err != nil {
		l.t.Fatal(err)
	}
	end.Call = c.now() + 2
	end.Return = end.Call
	var history []porcupine.Operation
	for _, w := range writers {
		for _, err := range w.strange {
			l.t.Errorf("writer %d read what nobody wrote: %v", w.id, err)
		}
		for _, op := range w.ops {
			op.Return = min(op.Return, end.Call-1)
			history = append(history, op)
		}
	}
	return append(history, end)
}

// end ends the server, and says how. A clean stop makes all durable; it is checked,
// which a pool fails that lacks a leg.
func (l *linear) end() porcupine.Operation {
	if l.random.IntN(6) == 0 && l.failed < 0 {
		l.server.stop()
		return linearEnd(kindStop, "stopped", 0)
	}
	l.server.kill()
	return linearEnd(kindCrash, "killed", 0)
}

// crowd reads what nobody writes, to crowd the resting spots out of memory.
func crowd(c *client, over *atomic.Bool) error {
	buf := make([]byte, stampedRequest)
	for off := int64(crowdFrom); !over.Load(); off += stampedRequest {
		if off == crowdEnd {
			off = crowdFrom
		}
		if err := c.readAt(buf, off); errors.Is(err, errConnection) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading what nobody writes: %w", err)
		}
	}
	return nil
}

// misfortune waits a while, in which something may befall the legs.
func (l *linear) misfortune() {
	l.pause()
	switch {
	case l.only != nil:
		l.only.hang()
		time.Sleep(randomTime(l.random, linearHang))
		l.only.answer()
	case l.failed >= 0:
		l.attach()
	case l.random.IntN(3) == 0:
		l.awaitSound()
		l.failed = l.random.IntN(len(l.pool.legs))
		run(l.t, l.pool.bin, "leg", "fail", l.pool.dir, l.pool.legs[l.failed])
	default:
		return
	}
	l.pause()
}

// attach brings the leg back that was set aside: what it missed is copied.
func (l *linear) attach() {
	l.t.Helper()
	run(l.t, l.pool.bin, "leg", "attach", l.pool.dir, l.pool.legs[l.failed])
	l.failed = -1
}

func (l *linear) awaitSound() {
	l.t.Helper()
	eventually(l.t, "the legs to be in sync", func() bool { return l.pool.anyStatus().State == "sound" })
}

func (l *linear) pause() { time.Sleep(randomTime(l.random, linearPause)) }

// readAll reads every spot, as reads of a history.
func (l *linear) readAll(c clock) []porcupine.Operation {
	l.t.Helper()
	client := dial(l.t, l.pool)
	defer client.close()
	w := &linearWriter{id: linearWriters, clock: c}
	for _, spot := range linearSpots {
		in := input{kind: kindRead, name: "read", first: spot, end: spot + spotSectors, sent: c.now()}
		p := make([]byte, spotSectors*sectorSize)
		if err := client.readAt(p, int64(spot)*sectorSize); err != nil {
			l.t.Fatal(err)
		}
		w.keep(in, p, nil)
	}
	for _, err := range w.strange {
		l.t.Errorf("after a crash it reads as nobody wrote it: %v", err)
	}
	return w.ops
}

// check has the history of a round checked, one sector after the other.
func (l *linear) check(history []porcupine.Operation) {
	l.t.Helper()
	for _, op := range history {
		if op.Output.(output).fate != done {
			l.maybe++
		}
	}
	l.ops += len(history)
	model := linearModel()
	begin, wrong := time.Now(), 0
	for _, ops := range bySector(history) {
		l.sectors++
		if verdict := porcupine.CheckOperationsTimeout(model, ops, linearCheck); verdict != porcupine.Ok {
			l.explain(ops, verdict)
			if wrong++; wrong == linearExplained {
				break
			}
		}
	}
	l.checking += time.Since(begin)
	if wrong > 0 || l.t.Failed() {
		l.t.Fatalf("round %d: the histories of %d sectors or more are wrong or undecided", l.round, wrong)
	}
}
