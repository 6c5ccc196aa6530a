package mirror

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"holdfast.dev/holdfast/device/devicetest"
	"holdfast.dev/holdfast/internal/guard"
	"holdfast.dev/holdfast/mirror/internal/ondisk"
)

// A rotten block is named once, with the leg that has it; two legs that each rot
// there are named once each; and legs that differ although both fit are named
// together.
func TestCheckNamesRotOnce(t *testing.T) {
	r := devicetest.Rand(devicetest.Seed(t), 0)
	legs, _ := guarded(t, 3, guard.CRC32C, r)
	g := geometryOf(t, legs[0])
	at := func(block int64) int64 { return g.DataOff() + block*BlockSize }
	old, oldTuple := get(t, legs[2].Dev, at(50), BlockSize), get(t, legs[2].Dev, g.Areas[ondisk.AreaGuards].Off+50*guard.TupleSize, guard.TupleSize)
	m := open(t, legs, Options{Manual: true})
	put(t, m, 50*BlockSize, noise(r, BlockSize))
	must(t, m.Close())

	put(t, legs[2].Dev, at(50), old) // a lost write, with its guard
	put(t, legs[2].Dev, g.Areas[ondisk.AreaGuards].Off+50*guard.TupleSize, oldTuple)
	spoils[0].do(t, r, legs[0], g, 10)
	spoils[0].do(t, r, legs[1], g, 20)
	spoils[0].do(t, r, legs[1], g, 21)
	spoils[0].do(t, r, legs[1], g, 30)
	spoils[0].do(t, r, legs[2], g, 30)
	spoils[0].do(t, r, legs[1], g, 50)
	report, err := Check(legs)
	must(t, err)
	rotten := func(leg string, block int64) string {
		return fmt.Sprintf("%s: the block at %d of the data does not fit its guard", leg, block*BlockSize)
	}
	want := []string{
		rotten("a", 10), rotten("b", 20), rotten("b", 21), rotten("b", 30), rotten("c", 30), rotten("b", 50),
		fmt.Sprintf("a and c differ in 4096 bytes at %d of the data", 50*BlockSize),
	}
	if got := strings.Join(report.Problems, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("problems are\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// A leg to be done without has to be one of the pool, whether or not the pool can
// do without it.
func TestWithoutNobody(t *testing.T) {
	legs := formatted(t, 2)
	a := geometryOf(t, legs[0])
	if _, err := Open(legs, Options{Manual: true, Without: []string{"nobody"}}); !errors.Is(err, ErrNoLeg) || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("got %v", err)
	}
	if b := geometryOf(t, legs[0]); *a != *b {
		t.Error("a pool that was refused was changed")
	}
	c := ondisk.ReadCopies(legs[1].Dev)
	for _, name := range []string{"b", strings.ToUpper(c.Best().Leg.String())} {
		m := open(t, legs, Options{Manual: true, Without: []string{name}})
		if st := m.Status().Legs[1].State; st != Failed {
			t.Errorf("without %s it is %v", name, st)
		}
		must(t, m.Close())
	}
}
