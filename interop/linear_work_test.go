package interop

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	linearConnections = 4
	// linearWriters is how many requests are under way at once: enough for the
	// few sectors that they are for to be asked by several at a time.
	linearWriters = 12
	// spotSectors is how many sectors are asked together: those of two pages, so
	// that requests cross from one to the other.
	spotSectors = 2 * pageSize / sectorSize
	// spotsAtOnce of a round are in use. The others rest, and may leave memory.
	spotsAtOnce = 2
)

// linearSpots are the first sectors of each spot, in regions of their own.
var linearSpots = []int{0, 3 << 11, 7<<11 + 8, 11 << 11, 16<<11 - spotSectors}

// clock gives the times of a history.
type clock time.Time

func (c clock) now() int64 { return int64(time.Since(time.Time(c))) }

// link is a connection that is made anew when it is lost.
type link struct {
	pool *pool
	mu   sync.Mutex
	c    *client // guarded by mu
}

// get returns the connection: another than the given, which was lost.
func (l *link) get(lost *client) (*client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.c == nil || l.c == lost {
		if l.c != nil {
			l.c.close()
			l.c = nil
		}
		c, err := connect(l.pool)
		if err != nil {
			return nil, err
		}
		l.c = c
	}
	return l.c, nil
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.c != nil {
		l.c.close()
	}
}

// linearWriter sends requests, one after the other, and keeps what came of them.
type linearWriter struct {
	id, round, n int
	random       *random
	clock        clock
	link         *link
	// tears says that it breaks its connection off now and then.
	tears bool
	spots []int
	ops   []porcupine.Operation
	// strange says of what was read and nobody wrote what it looks like.
	strange []error
}

const (
	// linearTears is the number of requests of a writer, about, in which it breaks
	// its connection off once.
	linearTears = 400
	// linearRest is how long a writer waits that got an error. While a leg hangs
	// each would get thousands.
	linearRest = 50 * time.Millisecond
)

// work sends requests until the server has gone.
func (w *linearWriter) work() {
	c, err := w.link.get(nil)
	for err == nil {
		if w.tears && w.random.IntN(linearTears) == 0 {
			c.conn.Close()
		}
		err = w.request(c)
		if _, replied := errors.AsType[nbdError](err); replied {
			time.Sleep(linearRest)
			err = nil
		}
		if errors.Is(err, errConnection) {
			c, err = w.link.get(c)
		}
	}
}

// linearRequest is a way to ask for something.
type linearRequest struct {
	kind       kind
	name       string
	cmd, flags uint16
}

// linearMix lists what is asked, each as often as it is asked of so many.
var linearMix = slices.Concat(
	slices.Repeat([]linearRequest{{kindRead, "read", cmdRead, 0}}, 9),
	slices.Repeat([]linearRequest{{kindWrite, "write", cmdWrite, 0}}, 7),
	[]linearRequest{
		{kindWrite, "write", cmdWrite, flagFUA},
		{kindZero, "trim", cmdTrim, 0},
		{kindZero, "trim", cmdTrim, flagFUA},
		{kindZero, "zeroes", cmdWriteZeroes, 0},
		{kindZero, "zeroes, no hole", cmdWriteZeroes, flagNoHole},
		{kindZero, "zeroes, no hole", cmdWriteZeroes, flagNoHole | flagFUA},
		{kindFlush, "flush", cmdFlush, 0},
	})

// request sends a request, and keeps what came of it.
func (w *linearWriter) request(c *client) error {
	what := linearMix[w.random.IntN(len(linearMix))]
	in := input{kind: what.kind, name: what.name, fua: what.flags&flagFUA != 0, answered: never}
	in.first, in.end = w.pick()
	var payload, into []byte
	size := (in.end - in.first) * sectorSize
	switch in.kind {
	case kindRead:
		into = make([]byte, size)
	case kindFlush:
		in.first, in.end, size = 0, 0, 0
	case kindWrite:
		w.n++
		in.wrote = newStamp(w.round, w.id, w.n)
		for s := in.first; s < in.end; s++ {
			payload = append(payload, encode(uint64(s), uint64(in.wrote), sectorSize)...)
		}
	}
	in.sent = w.clock.now()
	err := c.call(what.cmd, what.flags, int64(in.first)*sectorSize, int64(size), payload, into)
	w.keep(in, into, err)
	return err
}

// pick chooses sectors: often one, a page, or all of a spot.
func (w *linearWriter) pick() (first, end int) {
	spot := w.spots[w.random.IntN(len(w.spots))]
	half := spotSectors / 2
	from, dice := w.random.IntN(spotSectors), w.random.IntN(8)
	n := 1 + w.random.IntN(spotSectors-from)
	switch {
	case dice < 4:
		n = 1
	case dice == 4:
		from, n = from/half*half, half
	case dice == 5:
		from, n = 0, spotSectors
	}
	return spot + from, spot + from + n
}

// keep notes what came of a request. A flush or a read that was not done says
// nothing about any sector. An error is an answer: the server is done with the
// request, one way or another.
func (w *linearWriter) keep(in input, into []byte, err error) {
	op := porcupine.Operation{ClientId: w.id, Call: in.sent, Return: w.clock.now()}
	var out output
	if _, replied := errors.AsType[nbdError](err); replied {
		out.fate = refused
	} else if err != nil {
		out.fate, op.Return = lost, never
	} else {
		in.answered = op.Return
	}
	switch in.kind {
	case kindRead:
		out.read = w.stamps(in.first, into)
		fallthrough
	case kindFlush:
		if err != nil {
			return
		}
	}
	op.Input, op.Output = in, out
	w.ops = append(w.ops, op)
}

// stamps says which write each sector of data, from first on, is of.
func (w *linearWriter) stamps(first int, data []byte) []stamp {
	all := make([]stamp, len(data)/sectorSize)
	for i := range all {
		number, zero, err := decode(uint64(first+i), data[i*sectorSize:][:sectorSize])
		switch {
		case err != nil:
			w.strange = append(w.strange, err)
			all[i] = garbled
		case zero:
			all[i] = zeros
		default:
			all[i] = stamp(number)
		}
	}
	return all
}
