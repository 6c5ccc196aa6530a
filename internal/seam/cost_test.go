//go:build !explore

package seam_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"

	"holdfast.dev/holdfast/internal/mutant"
	"holdfast.dev/holdfast/internal/seam"
)

// Without the tag the seam's lock is the standard library's, not one like it.
var _ *sync.Mutex = new(seam.Mutex)
var _ *sync.Cond = new(seam.Cond)

// scheduled are symbols that a program has only if it can be scheduled, or mutated.
var scheduled = regexp.MustCompile(`(?m) [TtRrDdBb] (holdfast\.dev/holdfast/internal/(?:seam\.(?:Point|Install|scheduler|installed|\(\*Mutex\)\S*)|mutant\.\S+))$`)

// The program that is shipped has nothing of the scheduler in it, and no mutant; the
// one that is explored has both, so that the test would see them.
func TestShippedWithoutScheduler(t *testing.T) {
	for _, c := range []struct {
		tag  string
		want bool
	}{{"", false}, {"explore", true}} {
		exe := filepath.Join(t.TempDir(), "holdfast")
		build := exec.Command("go", "build", "-tags", c.tag, "-o", exe, "holdfast.dev/holdfast/cmd/holdfast")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", build, err, out)
		}
		symbols, err := exec.Command("go", "tool", "nm", exe).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, symbols)
		}
		found := scheduled.FindAllString(string(symbols), -1)
		if (len(found) > 0) != c.want {
			t.Errorf("with tags %q the program has %q", c.tag, found)
		}
		code, err := os.ReadFile(exe)
		if err != nil {
			t.Fatal(err)
		}
		if has := bytes.Contains(code, []byte("cache.writefault")); has != c.want {
			t.Errorf("with tags %q the program has the name of a step in it: %v", c.tag, has)
		}
	}
}

var sink uint64

// BenchmarkPoint is a loop with a point and a mutant in it, and the same without:
// they take the same time.
func BenchmarkPoint(b *testing.B) {
	b.Run("with", func(b *testing.B) {
		for i := range b.N {
			seam.Point("bench", uint64(i))
			if mutant.On(mutant.TagClearedAtClaim) {
				sink++
			}
			sink += uint64(i)
		}
	})
	b.Run("without", func(b *testing.B) {
		for i := range b.N {
			sink += uint64(i)
		}
	})
}
