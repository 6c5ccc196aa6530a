package holdfast

import (
	"regexp"
	"strings"
	"testing"
)

// Whether what was synced is in the journal or in its place it is there after a
// crash, and Inspect says what is to be done before.
func TestCrashKeepsWhatWasSynced(t *testing.T) {
	for _, c := range []struct {
		journal, message string
		replayed         bool
	}{
		{"never", "to be made equal|regions .* will be made equal", false},
		{"auto", "1 blocks are in the journal", true},
	} {
		t.Run(c.journal, func(t *testing.T) { crashKeeps(t, c.journal, regexp.MustCompile(c.message), c.replayed) })
	}
}

func crashKeeps(t *testing.T, journal string, message *regexp.Regexp, replayed bool) {
	dir := made(t)
	p := opened(t, dir, Options{Journal: journal})
	v := lookup(t, p, "main")
	write(t, v, "synced", mib)
	if err := p.Sync(); err != nil {
		t.Fatal(err)
	}
	write(t, v, "not synced", 2*mib)
	p.Abandon()
	p.mu.closed = true // there is nothing left for Close
	s, err := Inspect(dir)
	if err != nil || (s.Resync.RegionsLeft == 0) != replayed || (s.Journal.Replayed > 0) != replayed ||
		!strings.Contains(s.Message, "not stopped cleanly") || !message.MatchString(s.Message) {
		t.Errorf("after a crash: %+v, %v", s, err)
	}
	p = opened(t, dir, Options{})
	expect(t, lookup(t, p, "main"), "synced", mib)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err := Check(dir); err != nil || !r.Sound() {
		t.Errorf("check: %+v, %v", r, err)
	}
}
