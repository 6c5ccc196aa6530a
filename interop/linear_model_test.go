package interop

import (
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

// The model says what a sector of a volume may do, for a checker of
// linearizability. NBD promises no order between sectors, so each has a history
// of its own: a request for many is one operation on each, all with the same
// times. A flush and a crash are in the histories of all.
//
// A sector's state is what a crash may leave of it, and what of that it reads as. A
// flush settles what was acknowledged before it was sent, a FUA write itself, a
// clean stop everything; a crash leaves any version that is none older than what
// was settled last.
//
// What was not answered, or with an error, may have been done or not: until it is
// read the sector may be either. What was not answered may be done at any moment
// before the server's end, but not later: what a server has in flight dies with
// it. So such an operation lasts until just before the crash. An error is an
// answer: the server is done with the request.

// kind is what an operation does.
type kind int

const (
	// kindFound is what a sector is known to hold when a history begins.
	kindFound kind = iota
	kindRead
	kindWrite
	kindZero // a trim, or a write of zeros
	kindFlush
	kindCrash // the server was killed
	kindStop  // it was asked to end, and did
)

// input is what was asked, as the checker is told it.
type input struct {
	kind kind
	// first and end say which sectors: none for a flush, a crash and a stop,
	// which are for all that others name.
	first, end int
	name       string // of the request, for people
	wrote      stamp
	fua        bool
	// sent is when a flush was; answered when a write was acknowledged, or never.
	sent, answered int64
}

// never is later than everything.
const never = math.MaxInt64

// output is what came of it.
type output struct {
	fate fate
	read []stamp // by a read, one for each sector
}

// fate is what is known of a request.
type fate int

const (
	// done: it was acknowledged.
	done fate = iota
	// lost: the connection was, and the answer with it.
	lost
	// refused: the answer was an error.
	refused
)

// held is a version of a sector that a crash may leave.
type held struct {
	stamp    stamp
	answered int64 // when its write was acknowledged, or never
	now      bool  // the sector may read as this one, while it is not read
}

// sector is the state of a sector, oldest version first. It is never changed in
// place.
type sector []held

// with is s after a write: nothing else is read from then on, if it was done.
func (s sector) with(stamp stamp, answered int64, done bool) sector {
	next := make(sector, len(s), len(s)+1)
	for i, h := range s {
		h.now = h.now && !done
		next[i] = h
	}
	return append(next, held{stamp, answered, true})
}

// readAs is s after a read; nil if it cannot have returned that.
func (s sector) readAs(stamp stamp) sector {
	next, can := slices.Clone(s), false
	for i := range next {
		next[i].now = next[i].now && next[i].stamp == stamp
		can = can || next[i].now
	}
	if !can {
		return nil
	}
	return next
}

// settled is s where nothing but what it reads as is left.
func (s sector) settled() sector {
	return slices.DeleteFunc(slices.Clone(s), func(h held) bool { return !h.now })
}

// flushed is s after a flush that was sent at the given time: nothing older is
// left than the newest that was acknowledged before.
func (s sector) flushed(sent int64) sector {
	var next sector
	covered := false
	for _, h := range slices.Backward(s) {
		if !covered || h.now {
			next = append(next, h)
		}
		covered = covered || h.answered < sent
	}
	slices.Reverse(next)
	return next
}

// any is s where it may read as whatever a crash may leave.
func (s sector) any() sector {
	next := slices.Clone(s)
	for i := range next {
		next[i].now = true
	}
	return next
}

// crashed lists the states after a crash, by what it left.
func (s sector) crashed() (all []sector) {
	for _, h := range s {
		all = append(all, sector{{h.stamp, 0, true}})
	}
	return all
}

// after lists the states that a sector may be in after an operation; none if it
// cannot have gone that way.
func (s sector) after(in input, out output) []sector {
	switch in.kind {
	case kindFound:
		return []sector{{{out.read[0], 0, true}}}
	case kindRead:
		if s = s.readAs(out.read[0]); s == nil {
			return nil
		}
	case kindFlush:
		s = s.flushed(in.sent)
	case kindStop:
		s = s.settled()
	case kindCrash:
		return s.crashed()
	default:
		s = s.with(in.wrote, in.answered, out.fate == done)
		switch {
		case out.fate == refused && in.kind == kindZero:
			// What was dropped from memory for it may not have got to the legs.
			s = s.any()
		case out.fate == done && in.fua:
			s = s.settled()
		}
	}
	return []sector{s}
}

// hashSeed is the same for all hashes of a run, as those of equal states are to be.
var hashSeed = maphash.MakeSeed()

// linearModel is the model in the checker's terms.
func linearModel() porcupine.Model {
	m := porcupine.NondeterministicModel{
		Partition: bySector,
		Init:      func() []any { return []any{sector(nil)} },
		Step: func(state, in, out any) (next []any) {
			for _, s := range state.(sector).after(in.(input), out.(output)) {
				next = append(next, s)
			}
			return next
		},
		Equal: func(a, b any) bool { return slices.Equal(a.(sector), b.(sector)) },
		Hash: func(state any) uint64 {
			var h maphash.Hash
			h.SetSeed(hashSeed)
			for _, v := range state.(sector) {
				maphash.WriteComparable(&h, v)
			}
			return h.Sum64()
		},
		DescribeOperation: func(in, out any) string { return describe(in.(input), out.(output)) },
		DescribeState:     func(state any) string { return fmt.Sprint(state.(sector)) },
	}
	return m.ToModel()
}

// bySector makes one history for each sector, in the order of sectors. What a flush
// settles follows from when it was sent, wherever it is put between then and its
// answer; so it is put at its answer, and leaves the checker fewer orders to try.
func bySector(history []porcupine.Operation) [][]porcupine.Operation {
	var sectors []int
	for _, op := range history {
		for s := op.Input.(input).first; s < op.Input.(input).end; s++ {
			sectors = append(sectors, s)
		}
	}
	slices.Sort(sectors)
	sectors = slices.Compact(sectors)
	parts := make([][]porcupine.Operation, len(sectors))
	for _, op := range history {
		in, out := op.Input.(input), op.Output.(output)
		for i, s := range sectors {
			if in.first < in.end && (s < in.first || s >= in.end) {
				continue
			}
			one := op
			if in.kind == kindFlush {
				one.Call = one.Return
			}
			if in.first < in.end {
				in, out := in, out
				if len(out.read) > 0 {
					out.read = out.read[s-in.first:][:1]
				}
				in.first, in.end = s, s+1
				one.Input, one.Output = in, out
			}
			parts[i] = append(parts[i], one)
		}
	}
	return parts
}

// describe says in a few words what an operation on one sector was.
func describe(in input, out output) string {
	var b strings.Builder
	b.WriteString(in.name)
	if in.fua {
		b.WriteString(", FUA")
	}
	switch {
	case in.kind == kindWrite:
		fmt.Fprintf(&b, " %v", in.wrote)
	case in.kind == kindRead, in.kind == kindFound:
		fmt.Fprintf(&b, " -> %v", out.read[0])
	}
	switch out.fate {
	case lost:
		b.WriteString(": no answer")
	case refused:
		b.WriteString(": an error")
	}
	return b.String()
}

// stamp is what a sector was written as: which write of which writer in which
// round. No two writes share one, but for those of zeros.
type stamp uint64

const (
	zeros stamp = 0
	// garbled is what no write ever wrote.
	garbled stamp = math.MaxUint64

	stampRound, stampWriter = 48, 40
)

func newStamp(round, writer, n int) stamp {
	return stamp(round)<<stampRound | stamp(writer+1)<<stampWriter | stamp(n)
}

func (s stamp) String() string {
	switch s {
	case zeros:
		return "zeros"
	case garbled:
		return "what nobody wrote"
	}
	return fmt.Sprintf("%d.%d.%d", s>>stampRound, s>>stampWriter&0xff-1, s&(1<<stampWriter-1))
}

func (h held) String() string { return h.stamp.String() }
