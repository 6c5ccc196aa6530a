package interop

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

const (
	// soakRotten bounds the bytes spoiled at a time: a leg with more bad blocks
	// than the limit of ten minutes is failed, which is to happen now and then.
	soakRotten = 24
	// soakWork bounds the random time between two misfortunes.
	soakWork = 5 * time.Second
	// soakShort is how long it takes if nobody says: a few misfortunes.
	soakShort = 30 * time.Second
)

// misfortunes are what befalls the pool while it is written to. Each leaves it
// served; only one leg is spoiled until all is healed again.
var misfortunes = []struct {
	name string
	// weight is how often it comes up, compared with others.
	weight int
	befall func(k *soak)
}{
	{"killed", 4, func(k *soak) { k.killed() }},
	{"rot", 3, func(k *soak) { k.rot(); k.scrub() }},
	{"rot, and killed in the scrub", 2, func(k *soak) {
		k.rot()
		k.holdfast("scrub", k.pool.dir)
		k.pause()
		k.killed()
		k.scrub()
	}},
	{"leg failed and attached", 3, func(k *soak) {
		leg := k.pickLeg()
		k.holdfast("leg", "fail", k.pool.dir, leg)
		k.pause()
		k.holdfast("leg", "attach", k.pool.dir, leg)
		k.awaitLegs()
	}},
	{"leg failed, killed, attached, and killed in the resync", 2, func(k *soak) {
		leg := k.pickLeg()
		k.holdfast("leg", "fail", k.pool.dir, leg)
		k.pause()
		k.killed()
		k.holdfast("leg", "attach", k.pool.dir, leg)
		k.killed()
		k.awaitLegs()
	}},
	{"leg pulled and replaced", 2, func(k *soak) {
		leg := k.pickLeg()
		size := k.truncate(leg, 0)
		k.pause()
		if _, out, err := try(k.t, k.pool.bin, "leg", "fail", k.pool.dir, leg); err != nil && !strings.Contains(out, "failed") {
			k.t.Fatalf("leg fail: %v\n%s", err, out)
		}
		k.truncate(leg, size)
		k.holdfast("leg", "replace", k.pool.dir, leg)
		k.awaitLegs()
	}},
	{"stopped and checked", 1, func(k *soak) {
		k.work.stop()
		k.server.stop()
		legsEqual(k.t, k.pool)
		k.serve()
	}},
}

// soak is a pool in a rough place.
type soak struct {
	t      *testing.T
	random *random
	pool   *pool
	ledger *ledger
	server *server
	work   *work
	// dataOff is where on a leg the ledger's part of the volume begins.
	dataOff int64
	count   map[string]int
}

// TestSoak has a pool written to by fio and by writers whose every block is
// known, while the server is killed, legs rot, fail, are pulled and come back. It
// takes as long as HOLDFAST_SOAK says, which make soak sets.
func TestSoak(t *testing.T) {
	slow(t, "half a minute or more")
	lasting := lastingOf(t, "HOLDFAST_SOAK", soakShort)
	k := &soak{t: t, random: newRandom(seed(t)), ledger: newLedger(ledgerSize), count: map[string]int{}}
	k.pool = newPool(t, poolOptions{size: "1GiB", build: checked})
	k.pool.configure(`
[cache]
budget = "32MiB"
dirty_age = "200ms"
[region_log]
period = "200ms"
`)
	k.findData()
	k.serve()
	for begin := time.Now(); time.Since(begin) < lasting; {
		k.pause()
		name := k.misfortune()
		k.verify(name)
	}
	k.work.stop()
	k.server.stop()
	legsEqual(t, k.pool)
	t.Logf("in %v: %v", lasting, k.count)
}

// findData finds where the volume begins on a leg, by something to look for.
func (k *soak) findData() {
	k.t.Helper()
	mark := make([]byte, pageSize)
	for i := range mark {
		mark[i] = byte(k.random.Uint32())
	}
	s := k.pool.serve()
	c := dial(k.t, k.pool)
	err := errors.Join(c.writeAt(mark, ledgerSize, 0), c.flush())
	c.close()
	s.stop()
	if err != nil {
		k.t.Fatal(err)
	}
	leg, err := os.ReadFile(k.pool.legs[0])
	if err != nil {
		k.t.Fatal(err)
	}
	at := bytes.LastIndex(leg, mark) // a journal, which may have it as well, lies before the data
	if at < ledgerSize {
		k.t.Fatalf("what was written is at %d of the leg", at)
	}
	k.dataOff = int64(at) - ledgerSize
}

// misfortune has one befall the pool, and returns its name.
func (k *soak) misfortune() string {
	total := 0
	for _, m := range misfortunes {
		total += m.weight
	}
	dice := k.random.IntN(total)
	for _, m := range misfortunes {
		if dice -= m.weight; dice < 0 {
			k.count[m.name]++
			m.befall(k)
			return m.name
		}
	}
	panic("unreachable")
}

func (k *soak) pause() { time.Sleep(randomTime(k.random, soakWork)) }

func (k *soak) serve() {
	k.server = k.pool.serve()
	k.work = startWork(k.t, k.server, k.ledger, k.random)
}

// killed has the server killed and started again. What the crash took away is
// known before anybody writes again.
func (k *soak) killed() {
	k.server.kill()
	k.work.stop()
	k.server = k.pool.serve()
	verifyAll(k.t, k.server, k.ledger, "after a kill")
	k.work = startWork(k.t, k.server, k.ledger, k.random)
}

// holdfast runs the command line.
func (k *soak) holdfast(args ...string) string {
	k.t.Helper()
	return run(k.t, k.pool.bin, args...)
}

func (k *soak) pickLeg() string { return k.pool.legs[k.random.IntN(len(k.pool.legs))] }

// truncate sets the size of a leg, and returns the one it had.
func (k *soak) truncate(leg string, size int64) int64 {
	k.t.Helper()
	was, err := os.Stat(leg)
	if err == nil {
		err = os.Truncate(leg, size)
	}
	if err != nil {
		k.t.Fatal(err)
	}
	return was.Size()
}

// rot spoils bytes of one leg in the ledger's part, beneath the server. It ends
// with a flush: of blocks that were not flushed when the server is killed nobody
// can tell which leg has them as they were written.
func (k *soak) rot() {
	k.t.Helper()
	f, err := os.OpenFile(k.pickLeg(), os.O_RDWR, 0)
	if err != nil {
		k.t.Fatal(err)
	}
	defer f.Close()
	for range 1 + k.random.IntN(soakRotten) {
		if _, err := f.WriteAt([]byte{byte(k.random.Uint32())}, k.dataOff+k.random.Int64N(ledgerSize)); err != nil {
			k.t.Fatal(err)
		}
	}
	c := dial(k.t, k.pool)
	defer c.close()
	if err := c.flush(); err != nil {
		k.t.Fatal(err)
	}
}

// scrub scrubs until nothing is wrong any more. A leg with too many bad blocks
// has been failed by then: it is brought back. One that a kill cut off goes on by
// itself, and makes room for this.
func (k *soak) scrub() {
	k.t.Helper()
	for range 3 {
		var out string
		var err error
		eventually(k.t, "the end of the scrub that went on", func() bool {
			_, out, err = try(k.t, k.pool.bin, "scrub", k.pool.dir, "--wait", "--share", "1")
			return !strings.Contains(out, "under way")
		})
		k.attachFailed()
		if err == nil {
			return
		}
		k.t.Logf("scrub: %v: %s", err, strings.TrimSpace(out))
	}
	k.t.Fatal("three scrubs in a row found something wrong")
}

func (k *soak) attachFailed() {
	k.t.Helper()
	for i, l := range k.pool.anyStatus().Legs {
		if l.State == "failed" {
			k.holdfast("leg", "attach", k.pool.dir, k.pool.legs[i])
		}
	}
	k.awaitLegs()
}

// awaitLegs waits until every leg is in sync.
func (k *soak) awaitLegs() {
	k.t.Helper()
	eventually(k.t, "the legs to be in sync", func() bool {
		for _, l := range k.pool.anyStatus().Legs {
			if l.State != "in sync" {
				return false
			}
		}
		return true
	})
}

// verify has nobody write for a moment, and reads everything.
func (k *soak) verify(after string) {
	k.t.Helper()
	k.work.stop()
	eventually(k.t, "the end of the connections", func() bool { return len(k.pool.anyStatus().NBD) == 0 })
	verifyAll(k.t, k.server, k.ledger, fmt.Sprintf("after %q", after))
	if k.server.exited() {
		k.t.Fatalf("the server ended by itself:\n%s", k.server.output())
	}
	k.work = startWork(k.t, k.server, k.ledger, k.random)
}
