package holdfast

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast.dev/holdfast/internal/eventlog"
)

// gentle is a share with which a scrub takes far longer than any test.
const gentle = 1e-6

// filled makes a pool with data, closed.
func filled(t *testing.T) (dir string) {
	t.Helper()
	dir = made(t)
	p := opened(t, dir, Options{})
	write(t, lookup(t, p, "main"), strings.Repeat("precious", mib/4), mib)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// spoilLeg changes a leg behind the pool's back, in the middle of the data.
func spoilLeg(t *testing.T, dir, leg string) {
	t.Helper()
	path := filepath.Join(dir, leg)
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("preciousprecious"))
	poke(t, path, min(int64(at)+64<<10, st.Size()), "rotten")
}

// scrubbed waits until a scrub is not under way any more, and its end is written
// down: that comes after Status tells of it, and a kill may come between.
func scrubbed(p *Pool) ScrubStatus {
	p.scrubs.Wait()
	return p.Status().Scrub
}

// happened returns the kinds of what happened.
func happened(t *testing.T, dir string) string {
	t.Helper()
	var kinds []string
	for e, err := range Events(t.Context(), dir, false) {
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, e.Kind)
	}
	return strings.Join(kinds, " ")
}

// Errors of legs and the last scrub are known after a stop, and after a crash, and
// of a stopped pool, until errors are cleared.
func TestPastIsKept(t *testing.T) {
	dir := filled(t)
	spoilLeg(t, dir, "b.img")
	p := opened(t, dir, Options{})
	if err := p.StartScrub(false, 1); err != nil {
		t.Fatal(err)
	}
	want := scrubbed(p)
	if want.Bad != 1 || want.Healed != 1 || want.State != ScrubDone {
		t.Fatalf("the scrub: %+v", want)
	}
	same := func(what string, s Status, errors uint64) {
		t.Helper()
		if s.Legs[1].ChecksumErrors != errors || s.Legs[0].ChecksumErrors != 0 || s.Scrub.Bad != 1 ||
			!s.Scrub.Ended.Equal(want.Ended) || s.Scrub.State != ScrubDone || s.Scrub.Took != want.Took {
			t.Errorf("%s: %+v, %+v, want %+v", what, s.Legs, s.Scrub, want)
		}
	}
	p.Abandon()
	p.mu.closed = true
	p = opened(t, dir, Options{})
	same("after a crash", p.Status(), 1)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Inspect(dir)
	if err != nil {
		t.Fatal(err)
	}
	same("stopped", s, 1)
	if s.State != StateStopped || !strings.Contains(s.Message, "held 1 blocks otherwise") {
		t.Errorf("stopped it says %s: %s", s.State, s.Message)
	}
	p = opened(t, dir, Options{})
	if err := p.ClearErrors("nobody"); !errors.Is(err, ErrNoLeg) {
		t.Errorf("of nobody: %v", err)
	}
	if err := p.ClearErrors("a.img"); err != nil {
		t.Fatal(err)
	}
	same("after the other was cleared", p.Status(), 1)
	if err := p.ClearErrors("b.img"); err != nil {
		t.Fatal(err)
	}
	p.Abandon() // at once, and yet they are cleared
	p.mu.closed = true
	p = opened(t, dir, Options{})
	same("after it was cleared", p.Status(), 0)
	if err := errors.Join(p.ClearErrors(""), p.Close()); err != nil {
		t.Fatal(err)
	}
	if got := happened(t, dir); !strings.Contains(got, "scrub-began block-healed scrub-ended") || strings.Count(got, "errors-cleared") != 4 {
		t.Errorf("what happened is %s", got)
	}
}

// A scrub goes on after a stop and after a crash as what it was, and not after it
// was stopped by a person, though the program is killed at once.
func TestScrubGoesOnWhenOpened(t *testing.T) {
	dir := filled(t)
	p := opened(t, dir, Options{})
	if err := p.StartScrub(true, gentle); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err := Inspect(dir); err != nil || s.Scrub.State != ScrubInterrupted || !s.Scrub.CheckOnly {
		t.Errorf("of the stopped pool: %+v, %v", s.Scrub, err)
	}
	for range 2 {
		p = opened(t, dir, Options{})
		if s := p.Status().Scrub; s.State != ScrubRunning || !s.CheckOnly || s.Share != gentle {
			t.Fatalf("opened again: %+v", s)
		}
		if err := p.StartScrub(false, 1); err == nil {
			t.Error("a second scrub began")
		}
		p.Abandon()
		p.mu.closed = true
	}
	p = opened(t, dir, Options{})
	p.StopScrub()
	p.Abandon()
	p.mu.closed = true
	p = opened(t, dir, Options{})
	if s := p.Status().Scrub; s.State != ScrubStopped {
		t.Errorf("after it was stopped and the program killed: %+v", s)
	}
	if err := p.StartScrub(false, 0); err != nil {
		t.Fatal(err)
	}
	if s := scrubbed(p); s.State != ScrubDone || s.Share != 0.5 {
		t.Errorf("one with the share of the settings: %+v", s)
	}
}

// What cannot be read is no past, and told; what cannot be written is told once, and
// the pool works on.
func TestPastThatCannotBeKept(t *testing.T) {
	dir := filled(t)
	path := filepath.Join(dir, pastName)
	for _, text := range []string{"", "{", "[]", `{"version":2}`, strings.Repeat(" ", pastLimit) + "{}"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if p, err := loadPast(dir); err == nil {
			t.Errorf("%.20q is a past: %+v", text, p)
		}
		opened(t, dir, Options{}).Close()
		if _, err := loadPast(dir); err != nil {
			t.Errorf("after %.20q and a stop: %v", text, err)
		}
	}
	// Directories are in the way of both files, for root too.
	for _, name := range []string{pastName + ".tmp", eventlog.Name} {
		os.Remove(filepath.Join(dir, name))
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	p, err := Open(dir, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		write(t, lookup(t, p, "main"), "more", int64(i)*mib)
		if err := errors.Join(p.Sync(), p.ClearErrors(""), p.StartScrub(false, 1)); err != nil {
			t.Error(err)
		}
		scrubbed(p)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	for _, told := range []string{"error counts and the scrub's place cannot be written down", "what happens to the pool cannot be written down"} {
		if n := strings.Count(log.String(), told); n != 1 {
			t.Errorf("%q is told %d times:\n%s", told, n, &log)
		}
	}
}

// Whoever follows hears of what happens while the pool is open.
func TestEventsAreFollowed(t *testing.T) {
	dir := made(t)
	heard := make(chan Event)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(heard)
		for e, err := range Events(ctx, dir, true) {
			if err == nil {
				heard <- e
			}
		}
	}()
	p := opened(t, dir, Options{})
	if e := <-heard; e.Kind != eventlog.PoolOpened {
		t.Errorf("first it hears %v", e)
	}
	if err := p.FailLeg("b.img"); err != nil {
		t.Fatal(err)
	}
	if e := <-heard; e.Kind != eventlog.LegTakenOut || e.Detail("leg") != filepath.Join(dir, "b.img") {
		t.Errorf("then it hears %v", e)
	}
	cancel()
	for range heard {
	}
	for _, err := range Events(t.Context(), t.TempDir(), false) {
		if !errors.Is(err, ErrNoPool) {
			t.Errorf("of no pool: %v", err)
		}
	}
}
