package interop

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
)

// The histories are of sector 7, unless they say otherwise. Each operation gives
// the times of its call and its return.

func operation(in input, out output, call, ret int64) porcupine.Operation {
	if in.first == in.end && in.kind != kindFlush && in.kind != kindCrash && in.kind != kindStop {
		in.first, in.end = 7, 8
	}
	in.sent, in.answered = call, never
	if out.fate == done {
		in.answered = ret
	}
	return porcupine.Operation{Input: in, Output: out, Call: call, Return: ret}
}

func found(s stamp) porcupine.Operation {
	return operation(input{kind: kindFound, name: "found"}, output{read: []stamp{s}}, 0, 0)
}

func read(s stamp, call, ret int64) porcupine.Operation {
	return operation(input{kind: kindRead, name: "read"}, output{read: []stamp{s}}, call, ret)
}

func write(s stamp, call, ret int64) porcupine.Operation {
	return operation(input{kind: kindWrite, name: "write", wrote: s}, output{}, call, ret)
}

func fua(s stamp, call, ret int64) porcupine.Operation {
	return operation(input{kind: kindWrite, name: "write", wrote: s, fua: true}, output{}, call, ret)
}

func trim(call, ret int64) porcupine.Operation {
	return operation(input{kind: kindZero, name: "trim"}, output{}, call, ret)
}

func flush(call, ret int64) porcupine.Operation {
	return operation(input{kind: kindFlush, name: "flush"}, output{}, call, ret)
}

func crash(at int64) porcupine.Operation {
	return operation(input{kind: kindCrash, name: "kill"}, output{}, at, at)
}

func stop(at int64) porcupine.Operation {
	return operation(input{kind: kindStop, name: "stop"}, output{}, at, at)
}

// maybe is op if the given thing became of it, which may take effect until then.
func maybe(f fate, until int64, op porcupine.Operation) porcupine.Operation {
	return operation(op.Input.(input), output{fate: f}, op.Call, until)
}

// The model decides what a server may do, so it is shown to refuse what it may
// not, and to allow what it may.
func TestLinearModel(t *testing.T) {
	const a, b, c = stamp(1), stamp(2), stamp(3)
	type history = []porcupine.Operation
	for _, one := range []struct {
		name  string
		legal bool
		ops   history
	}{
		{"a write is read", true, history{found(a), write(b, 1, 2), read(b, 3, 4)}},
		{"a stale read", false, history{found(a), write(b, 1, 2), read(a, 3, 4)}},
		{"during a write either is read", true, history{found(a), write(b, 1, 6), read(a, 2, 3), read(b, 4, 5)}},
		{"and then only the later", false, history{found(a), write(b, 1, 6), read(b, 2, 3), read(a, 4, 5)}},
		{"concurrent writes have an order", true, history{found(a), write(b, 1, 5), write(c, 1, 5), read(c, 2, 3), read(b, 6, 7)}},
		{"the same for all", false, history{found(a), write(b, 1, 3), write(c, 1, 3), read(b, 4, 5), read(c, 6, 7)}},
		{"a read of what nobody wrote", false, history{found(a), write(b, 1, 2), read(garbled, 1, 2)}},
		{"a read of the future", false, history{found(a), read(b, 1, 2), write(b, 3, 4)}},

		{"a trim reads as zeros", true, history{found(a), trim(1, 2), read(zeros, 3, 4)}},
		{"an old value after a trim", false, history{found(a), trim(1, 2), read(a, 3, 4)}},
		{"an old value after a trim, later", false, history{found(a), trim(1, 2), read(zeros, 3, 4), read(a, 5, 6)}},
		{"an old value after a trim and a crash", true, history{found(a), trim(1, 2), crash(3), read(a, 4, 5)}},
		{"an old value after a flushed trim and a crash", false, history{found(a), trim(1, 2), flush(3, 4), crash(5), read(a, 6, 7)}},

		{"a crash takes what was not flushed", true, history{found(a), write(b, 1, 2), crash(3), read(a, 4, 5)}},
		{"or some of it", true, history{found(a), write(b, 1, 2), write(c, 3, 4), crash(5), read(b, 6, 7)}},
		{"or nothing", true, history{found(a), write(b, 1, 2), crash(3), read(b, 4, 5)}},
		{"what one read after a crash the other reads", false, history{found(a), write(b, 1, 2), crash(3), read(a, 4, 5), read(b, 6, 7)}},
		{"after the next crash too", false, history{found(a), write(b, 1, 2), crash(3), read(b, 4, 5), crash(6), read(a, 7, 8)}},
		{"a flushed value is lost", false, history{found(a), write(b, 1, 2), flush(3, 4), crash(5), read(a, 6, 7)}},
		{"a value older than the flushed is back", false, history{found(a), write(b, 1, 2), write(c, 3, 4), flush(5, 6), crash(7), read(b, 8, 9)}},
		{"a value newer than the flushed", true, history{found(a), write(b, 1, 2), flush(3, 4), write(c, 5, 6), crash(7), read(c, 8, 9)}},
		{"the flushed value", true, history{found(a), write(b, 1, 2), flush(3, 4), write(c, 5, 6), crash(7), read(b, 8, 9)}},
		{"a flush before the acknowledgement covers nothing", true, history{found(a), write(b, 1, 4), read(b, 1, 2), flush(3, 6), crash(7), read(a, 8, 9)}},
		{"but what was acknowledged before it", false, history{found(a), write(b, 1, 2), write(c, 3, 6), flush(4, 5), crash(7), read(a, 8, 9)}},
		{"a flush without an answer covers nothing", true, history{found(a), write(b, 1, 2), crash(4), read(a, 5, 6)}},
		{"an acknowledged FUA write is lost", false, history{found(a), fua(b, 1, 2), crash(3), read(a, 4, 5)}},
		{"a FUA write settles no other", true, history{found(a), fua(b, 1, 2), write(c, 3, 4), crash(5), read(b, 6, 7)}},
		{"a clean stop settles all", false, history{found(a), write(b, 1, 2), stop(3), crash(4), read(a, 5, 6)}},
		{"and takes nothing", true, history{found(a), write(b, 1, 2), stop(3), read(b, 4, 5)}},

		{"a lost write was done", true, history{found(a), maybe(lost, 6, write(b, 1, 0)), read(a, 2, 3), read(b, 4, 5)}},
		{"a lost write was not done", true, history{found(a), maybe(lost, 6, write(b, 1, 0)), read(a, 2, 3), read(a, 7, 8)}},
		{"a lost write was done and undone", false, history{found(a), maybe(lost, 6, write(b, 1, 0)), read(b, 2, 3), read(a, 4, 5)}},
		{"a lost write is in time before a crash", true, history{found(a), maybe(lost, 4, write(b, 1, 0)), read(a, 2, 3), crash(5), read(b, 6, 7)}},
		{"a lost write is not in time", true, history{found(a), maybe(lost, 4, write(b, 1, 0)), crash(5), read(a, 6, 7)}},
		{"a lost write takes effect after the restart", false, history{found(a), maybe(lost, 4, write(b, 1, 0)), crash(5), read(a, 6, 7), read(b, 8, 9)}},
		{"a lost write is older than the flushed", false, history{found(a), maybe(lost, 7, write(b, 1, 0)), read(b, 1, 2), write(c, 3, 4), flush(5, 6), crash(8), read(b, 9, 10)}},
		{"a lost write overtakes the flushed", true, history{found(a), maybe(lost, 7, write(b, 1, 0)), write(c, 3, 4), flush(5, 6), crash(8), read(b, 9, 10)}},
		{"a lost FUA write promises nothing", true, history{found(a), maybe(lost, 4, fua(b, 1, 0)), read(b, 2, 3), crash(5), read(a, 6, 7)}},
		{"nor does it settle what was there", true, history{found(a), write(b, 1, 2), maybe(lost, 5, fua(c, 3, 0)), crash(6), read(a, 7, 8)}},
		{"a lost trim was done", true, history{found(a), maybe(lost, 4, trim(1, 0)), crash(5), read(zeros, 6, 7)}},
		{"a lost trim was not done", true, history{found(a), maybe(lost, 4, trim(1, 0)), read(a, 5, 6)}},
		{"a lost trim brings nothing back", false, history{found(a), write(b, 1, 2), maybe(lost, 6, trim(3, 0)), read(a, 4, 5)}},

		{"a refused write was done", true, history{found(a), maybe(refused, 6, write(b, 1, 0)), read(b, 4, 5)}},
		{"a refused write was not done", true, history{found(a), maybe(refused, 6, write(b, 1, 0)), read(a, 4, 5)}},
		{"a refused write brings nothing back", false, history{found(a), write(b, 1, 2), maybe(refused, 6, write(c, 3, 0)), read(a, 4, 5)}},
		{"a refused FUA write was done and lost", true, history{found(a), maybe(refused, 4, fua(b, 1, 0)), read(b, 2, 3), crash(5), read(a, 6, 7)}},
		{"a refused trim may take away what was not flushed", true, history{found(a), write(b, 1, 2), maybe(refused, 6, trim(3, 0)), read(a, 4, 5)}},
		{"and what it takes away stays away", false, history{found(a), write(b, 1, 2), maybe(refused, 6, trim(3, 0)), read(a, 4, 5), read(b, 7, 8)}},
		{"what it leaves can be flushed", true, history{found(a), write(b, 1, 2), maybe(refused, 4, trim(3, 0)), read(a, 5, 6), flush(7, 8), crash(9), read(a, 10, 11)}},
		{"a refused trim before a flush takes no more away", false, history{found(a), write(b, 1, 2), maybe(refused, 4, trim(3, 0)), write(c, 5, 6), flush(7, 8), crash(9), read(b, 10, 11)}},
		{"a refused trim takes away what was flushed", false, history{found(a), write(b, 1, 2), flush(3, 4), maybe(refused, 8, trim(5, 0)), read(a, 6, 7)}},
	} {
		t.Run(one.name, func(t *testing.T) {
			if got := porcupine.CheckOperations(linearModel(), one.ops); got != one.legal {
				t.Errorf("legal: %v", got)
			}
		})
	}
}

// A request for several sectors is one operation on each, and no more than that:
// each may be before or after another's.
func TestLinearSectors(t *testing.T) {
	const a, b = stamp(1), stamp(2)
	both := func(op porcupine.Operation, read ...stamp) porcupine.Operation {
		in := op.Input.(input)
		in.first, in.end = 7, 9
		op.Input, op.Output = in, output{read: read}
		return op
	}
	begin := both(found(zeros), zeros, zeros)
	half := []porcupine.Operation{begin, both(write(a, 1, 4)), both(read(0, 2, 3), zeros, a)}
	for _, c := range []struct {
		name  string
		legal bool
		ops   []porcupine.Operation
	}{
		{"half a write", true, half},
		{"one is written", true, []porcupine.Operation{begin, write(a, 1, 2), both(read(0, 3, 4), a, zeros)}},
		{"half of each of two", true, append(half, both(write(b, 1, 4)), both(read(0, 5, 6), a, b))},
		{"one sector stale", false, append(half, both(read(0, 5, 6), zeros, a))},
		{"a flush covers both", false, append(half, flush(5, 6), crash(7), both(read(0, 8, 9), a, zeros))},
	} {
		if got := porcupine.CheckOperations(linearModel(), c.ops); got != c.legal {
			t.Errorf("%s: legal: %v", c.name, got)
		}
		parts := bySector(c.ops)
		if len(parts) != 2 || fmt.Sprint(bySector(parts[1])) != fmt.Sprint(parts[1:]) {
			t.Errorf("%s: %d sectors", c.name, len(parts))
		}
	}
}

// What is shown to a person ends with the answer that cannot be.
func TestLinearExplained(t *testing.T) {
	ops := []porcupine.Operation{found(1), write(2, 1, 2), write(3, 3, 8), read(4, 4, 9), read(1, 5, 6), read(2, 10, 11), crash(12)}
	part, last := shortestWrong(ops)
	if want := []porcupine.Operation{ops[0], ops[1], ops[2], ops[4]}; last != 6 || !reflect.DeepEqual(part, want) {
		t.Errorf("after the answer at %d:\n%s", last, asText(part, last))
	}
	if text := asText(part, last); strings.Count(text, "last answer") != 1 || strings.Count(text, "\n") != 1+len(part) {
		t.Errorf("it is told as\n%s", text)
	}
}
