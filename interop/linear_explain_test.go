package interop

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/anishathalye/porcupine"
)

const (
	// linearExplained is how many wrong histories of a round are explained: what
	// is wrong with one sector is often wrong with its neighbours.
	linearExplained = 3
	// linearShown is how many operations of a wrong history are printed, the last.
	linearShown = 40
)

// explain says what is wrong with the history of a sector, to a person.
func (l *linear) explain(ops []porcupine.Operation, verdict porcupine.CheckResult) {
	l.t.Helper()
	where := fmt.Sprintf("round %d, sector %d", l.round, ops[0].Input.(input).first)
	if verdict == porcupine.Unknown {
		l.t.Errorf("%s: not decided within %v whether %d operations have an order", where, linearCheck, len(ops))
		return
	}
	ops, last := shortestWrong(ops)
	l.t.Errorf("%s: no order of these operations is right, though there is one up to the last answer:\n%s%s",
		where, asText(ops, last), l.draw(ops))
}

// draw leaves a picture of a history beside what is built, and says where.
func (l *linear) draw(ops []porcupine.Operation) string {
	part := strings.Map(func(r rune) rune {
		if strings.ContainsRune("/, ", r) {
			return '-'
		}
		return r
	}, l.t.Name())
	path := filepath.Join(moduleRoot(), "build", fmt.Sprintf("%s-%d-%d.html", part, l.round, ops[0].Input.(input).first))
	model := linearModel()
	_, info := porcupine.CheckOperationsVerbose(model, ops, linearCheck)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = porcupine.VisualizePath(model, info, path)
	}
	if err != nil {
		return fmt.Sprintf("there is no picture of it: %v", err)
	}
	return "a picture of it: " + path
}

// shortestWrong cuts a history that is wrong after the first answer that makes it
// so, and says when that was. Of what was under way then only changes are kept:
// they may have been done.
func shortestWrong(ops []porcupine.Operation) (part []porcupine.Operation, last int64) {
	answers := slices.SortedFunc(slices.Values(ops), func(a, b porcupine.Operation) int { return cmp.Compare(a.Return, b.Return) })
	until := func(i int) (part []porcupine.Operation) {
		at := answers[i].Return
		for _, op := range ops {
			kind := op.Input.(input).kind
			if op.Return <= at || op.Call <= at && (kind == kindWrite || kind == kindZero) {
				part = append(part, op)
			}
		}
		return part
	}
	model := linearModel()
	first := sort.Search(len(answers)-1, func(i int) bool {
		return porcupine.CheckOperationsTimeout(model, until(i), linearCheck) == porcupine.Illegal
	})
	return until(first), answers[first].Return
}

// asText lists the last operations of a history of one sector in the order of
// their calls, in microseconds, and points at what was answered last.
func asText(ops []porcupine.Operation, last int64) string {
	ops = slices.SortedFunc(slices.Values(ops), func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	var b strings.Builder
	if more := len(ops) - linearShown; more > 0 {
		fmt.Fprintf(&b, "(%d before these)\n", more)
		ops = ops[more:]
	}
	fmt.Fprintf(&b, "%12s %12s  %-8s %s\n", "asked, us", "answered", "client", "what")
	for _, op := range ops {
		asked := op.Call
		if in := op.Input.(input); in.kind == kindFlush {
			asked = in.sent
		}
		what := describe(op.Input.(input), op.Output.(output))
		if op.Return == last {
			what += "   <- the last answer"
		}
		fmt.Fprintf(&b, "%12.1f %12.1f  %-8d %s\n", float64(asked)/1e3, float64(op.Return)/1e3, op.ClientId, what)
	}
	return b.String()
}
