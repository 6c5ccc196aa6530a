package eventlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// all reads what is kept in dir.
func all(t *testing.T, dir string) (events []Event) {
	t.Helper()
	for e, err := range Read(t.Context(), dir, false) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

func kinds(events []Event) string {
	var k []string
	for _, e := range events {
		k = append(k, e.Kind)
	}
	return strings.Join(k, " ")
}

// text returns a handler that writes into b.
func text(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) }

// A record with a kind is kept, with all that it says, and shown like any other.
func TestEventsAreKept(t *testing.T) {
	dir, out := t.TempDir(), new(bytes.Buffer)
	l := New(dir, text(out))
	log := slog.New(l.Handler())
	log.Warn("only said")
	log.Warn("leg failed: it is left\talone", Key, LegFailed, "leg", "a b", "legs_left", 1, "took", time.Second, "error", errors.New("no \x1b[2J"))
	log.With("pool", "p", Key, LegInSync).WithGroup("g").Info("grouped", "x", uint64(7), "f", 0.5, "nan", math.NaN(), slog.Group("h", "y", true))
	l.Close()
	for range 2 * Burst {
		log.Warn("after the end", Key, LegFailed)
	}
	events := all(t, dir)
	if kinds(events) != "leg-failed leg-in-sync" {
		t.Fatalf("kept are %v", events)
	}
	e := events[0]
	if e.Level != "WARN" || e.Message != "leg failed: it is left\talone" || time.Since(e.Time) > time.Hour || e.Time.Location() != time.UTC {
		t.Errorf("kept is %+v", e)
	}
	if got := fmt.Sprint(e.Details); got != "[{leg a b} {legs_left 1} {took 1s} {error no \x1b[2J}]" {
		t.Errorf("details are %q", got)
	}
	if got := fmt.Sprint(events[1].Details); got != "[{pool p} {g.x 7} {g.f 0.5} {g.nan NaN} {g.h.y true}]" {
		t.Errorf("details are %q", got)
	}
	if s := e.String(); !strings.HasSuffix(s, "leg-failed         leg failed: it is left\uFFFDalone: leg=\"a b\" legs_left=1 took=1s error=\"no \uFFFD[2J\"") {
		t.Errorf("as a line: %q", s)
	}
	if n := strings.Count(out.String(), "\n"); n != 3+2*Burst {
		t.Errorf("the log has %d lines:\n%s", n, out)
	}
	b, err := os.ReadFile(filepath.Join(dir, Name))
	if err != nil || !strings.HasPrefix(string(b), `{"time":"20`) || !strings.Contains(string(b), `,"event":"leg-failed","message":`) {
		t.Errorf("the file: %s, %v", b, err)
	}
	if st, _ := os.Stat(filepath.Join(dir, Name)); st.Mode().Perm() != fileMode {
		t.Errorf("the file's mode is %v", st.Mode())
	}
}

// Of a storm the first are kept, of each leg, and then how many were not.
func TestStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, out := t.TempDir(), new(bytes.Buffer)
		l := New(dir, text(out))
		log := slog.New(l.Handler())
		for i := range 1000 {
			log.Warn("healed", Key, BlockHealed, "leg", "a", "offset", i)
		}
		log.Warn("healed", Key, BlockHealed, "leg", "b")
		log.Warn("other", Key, LegFailed, "leg", "a")
		time.Sleep(Window + time.Second)
		synctest.Wait()
		log.Warn("healed", Key, BlockHealed, "leg", "a")
		l.Close()
		events := all(t, dir)
		want := strings.Repeat("block-healed ", Burst) + "block-healed leg-failed left-out block-healed"
		if got := kinds(events); got != want {
			t.Fatalf("kept are %s", got)
		}
		left := events[Burst+2]
		if left.Detail("events") != fmt.Sprint(1000-Burst) || left.Detail("kind") != BlockHealed || left.Detail("leg") != "a" {
			t.Errorf("of those left out is said %+v", left)
		}
		if n := strings.Count(out.String(), "msg=healed"); n != Burst+2 {
			t.Errorf("%d were shown", n)
		}
		if n := strings.Count(out.String(), "event=left-out"); n != 1 {
			t.Errorf("that some were left out was said %d times", n)
		}
	})
}

// What was left out before the end is told at the end.
func TestStormAtTheEnd(t *testing.T) {
	dir := t.TempDir()
	l := New(dir, slog.DiscardHandler)
	for range Burst + 5 {
		slog.New(l.Handler()).Warn("healed", Key, BlockHealed)
	}
	l.Close()
	events := all(t, dir)
	if last := events[len(events)-1]; len(events) != Burst+1 || last.Kind != LeftOut || last.Detail("events") != "5" {
		t.Errorf("kept are %v", events)
	}
}

// A queue that nobody empties fills up, and what finds it full is counted.
func TestQueueIsBounded(t *testing.T) {
	l := &Log{wake: make(chan struct{}, 1)}
	l.mu.limits = map[limitKey]*limit{}
	for i := range queueMost + 7 {
		l.add(Event{Kind: LegFailed, Time: time.Now(), Details: []Detail{{"leg", i}}})
	}
	batch, told, _ := l.take()
	if len(batch) != queueMost+1 || len(told) != 1 || told[0].Detail("events") != "7" {
		t.Errorf("of %d events %d are written, and of the rest is said %v", queueMost+7, len(batch), told)
	}
	if batch, _, _ := l.take(); len(batch) != 0 {
		t.Errorf("%d are written again", len(batch))
	}
}

// The files stay bounded, and what is left of them is read in order.
func TestRotation(t *testing.T) {
	dir := t.TempDir()
	f := file{dir: dir}
	fill := strings.Repeat("x", valueMost)
	n := 5 * sizeMost / valueMost
	for i := range n {
		if err := f.append([]Event{{Kind: LegError, Details: []Detail{{"i", i}, {"fill", fill}}}}); err != nil {
			t.Fatal(err)
		}
		if i == n/2 {
			f.close() // as at a restart
		}
	}
	f.close()
	total := int64(0)
	for _, name := range []string{Name, olderName} {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		total += st.Size()
	}
	if total > 2*sizeMost+2*valueMost || total < sizeMost {
		t.Errorf("the files have %d bytes", total)
	}
	events := all(t, dir)
	for k, e := range events {
		if want := fmt.Sprint(n - len(events) + k); e.Detail("i") != want {
			t.Fatalf("event %d of %d is number %s, not %s", k, len(events), e.Detail("i"), want)
		}
	}
}

// A line that was cut off, and one that is no event, cost none beside them.
func TestTornLines(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, Name)
	write := func(s string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
		if err == nil {
			_, err = f.WriteString(s)
			f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	log := func() {
		l := New(dir, slog.DiscardHandler)
		slog.New(l.Handler()).Warn("one", Key, LegFailed)
		l.Close()
	}
	log()
	write(`{"time":"2026-01-01T00:00:00Z","level":"WA`)
	if got := kinds(all(t, dir)); got != "leg-failed" {
		t.Errorf("with a line that is not ended: %s", got)
	}
	log()
	write("[]\n" + `{"event":"x","a":[1,2]}` + "\n{}\n\n\x00\xff\n" + `{"event":"x","time":"yesterday"}` + "\n" +
		`{"event":"x"` + strings.Repeat(`,"a":1`, detailsMost+1) + "}\n" + `{"event":"x","message":"` + strings.Repeat("x", lineMost) + "\"}\n")
	log()
	want := "leg-failed unreadable leg-failed" + strings.Repeat(" unreadable", 8) + " leg-failed"
	if got := kinds(all(t, dir)); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// Where nothing can be written whoever logs goes on; it is said once, and later
// how much is lacking.
func TestUnwritable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, out := filepath.Join(t.TempDir(), "gone"), new(bytes.Buffer)
		l := New(dir, text(out))
		log := slog.New(l.Handler())
		for range 3 {
			log.Warn("one", Key, LegFailed)
			synctest.Wait()
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		log.Warn("four", Key, LegInSync)
		l.Close()
		events := all(t, dir)
		if kinds(events) != "left-out leg-in-sync" || events[0].Detail("events") != "3" {
			t.Errorf("kept are %v", events)
		}
		if n := strings.Count(out.String(), "cannot be written down"); n != 1 {
			t.Errorf("it was said %d times:\n%s", n, out)
		}
		if n := strings.Count(out.String(), "msg=one"); n != 3 {
			t.Errorf("%d of 3 were shown", n)
		}
	})
}

// A full disk: nothing of a batch is left behind.
func TestFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full")
	}
	dir := t.TempDir()
	if err := os.Symlink("/dev/full", filepath.Join(dir, Name)); err != nil {
		t.Fatal(err)
	}
	f := file{dir: dir}
	if err := f.append([]Event{{Kind: LegFailed}}); err == nil {
		t.Error("a full disk took an event")
	}
	if err := f.append([]Event{{Kind: LegFailed}}); err != nil {
		t.Errorf("it was told again: %v", err)
	}
	if f.missed != 2 {
		t.Errorf("%d are missed", f.missed)
	}
}

// A disk that fills up in the middle of a batch keeps what was there, and nothing of
// the batch; when there is room again that is told.
func TestDiskFillsUp(t *testing.T) {
	dir := t.TempDir()
	f := file{dir: dir}
	defer f.close()
	e := Event{Kind: LegFailed, Details: []Detail{{"fill", strings.Repeat("x", 100)}}}
	if err := f.append([]Event{e}); err != nil {
		t.Fatal(err)
	}
	size := f.size
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(size) + 150, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	err := f.append([]Event{e, e})
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if err == nil {
		t.Error("a full disk took a batch")
	}
	if st, _ := os.Stat(filepath.Join(dir, Name)); st.Size() != size {
		t.Errorf("the file had %d bytes and has %d", size, st.Size())
	}
	if err := f.append([]Event{e}); err != nil {
		t.Error(err)
	}
	if got := kinds(all(t, dir)); got != "leg-failed left-out leg-failed" {
		t.Errorf("kept are %s", got)
	}
}

// Whoever follows gets what was there, and all that comes, across files that are
// put aside, until he has enough.
func TestFollow(t *testing.T) {
	dir := t.TempDir()
	n := 3 * sizeMost / valueMost
	fill := strings.Repeat("x", valueMost)
	began, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		f := file{dir: dir}
		defer f.close()
		<-began
		for i := range n {
			if i%400 == 399 {
				time.Sleep(2 * pollPeriod)
			}
			f.append([]Event{{Kind: LegError, Details: []Detail{{"i", i}, {"fill", fill}}}})
		}
	}()
	close(began)
	i := 0
	for e, err := range Read(t.Context(), dir, true) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Detail("i") != fmt.Sprint(i) {
			t.Fatalf("number %s follows %d", e.Detail("i"), i-1)
		}
		if i++; i == n {
			break
		}
	}
	<-done
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range Read(ctx, dir, true) {
	}
}

// Values are bounded, whatever is logged.
func TestValuesAreBounded(t *testing.T) {
	dir := t.TempDir()
	l := New(dir, slog.DiscardHandler)
	var args []any
	for i := range 100 {
		args = append(args, fmt.Sprint("k", i), strings.Repeat("\x00<", valueMost))
	}
	slog.New(l.Handler()).Warn(strings.Repeat("m", lineMost), append(args, Key, "late")...)
	slog.New(l.Handler()).Warn("large", append([]any{Key, LegError}, args...)...)
	l.Close()
	events := all(t, dir)
	if kinds(events) != "late leg-error" || len(events[1].Details) != detailsMost {
		t.Fatalf("kept are %s", kinds(events))
	}
}

func FuzzEvent(f *testing.F) {
	f.Add([]byte(`{"time":"2026-01-01T00:00:00.000Z","level":"WARN","event":"leg-failed","message":"m","leg":"a","n":3,"b":true,"z":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var e, again Event
		if json.Unmarshal(b, &e) != nil {
			return
		}
		out, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out, &again); err != nil || again.String() != e.String() {
			t.Errorf("%s became %s: %v", b, out, err)
		}
	})
}
