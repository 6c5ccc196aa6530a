package groupcommit

import (
	"errors"
	"sync"
	"testing"
	"time"
)

// Callers who ask while a run is under way share the one that follows, and all
// get its result.
func TestCallersShareTheNextRun(t *testing.T) {
	var g Group
	g.Init()
	runs := 0
	inFirst, endFirst := make(chan struct{}), make(chan struct{})
	fault := errors.New("fault")
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := g.Do(func() error { runs++; close(inFirst); <-endFirst; return nil }); err != nil {
			t.Errorf("first run: %v", err)
		}
	})
	<-inFirst
	const followers = 8
	for range followers {
		wg.Go(func() {
			if err := g.Do(func() error { runs++; return fault }); err != fault {
				t.Errorf("a follower got %v, want the result of the run that began after he asked", err)
			}
		})
	}
	for !g.Waiting() {
		time.Sleep(time.Millisecond)
	}
	close(endFirst)
	wg.Wait()
	// A follower who was late to ask runs again: between one and eight runs.
	if runs < 2 || runs > 1+followers {
		t.Errorf("%d runs", runs)
	}
	if err := g.Do(func() error { return nil }); err != nil {
		t.Errorf("an old error came back: %v", err)
	}
}

// Close waits for the run under way; who waits for the next one, or comes later,
// is refused and runs nothing.
func TestClose(t *testing.T) {
	var g Group
	g.Init()
	in, end := make(chan struct{}), make(chan struct{})
	gone := errors.New("closed")
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := g.Do(func() error { close(in); <-end; return nil }); err != nil {
			t.Errorf("the run under way: %v", err)
		}
	})
	<-in
	refused := func() {
		if err := g.Do(func() error { t.Error("work began after Close"); return nil }); err != gone {
			t.Errorf("after Close: %v", err)
		}
	}
	wg.Go(refused)
	for !g.Waiting() {
		time.Sleep(time.Millisecond)
	}
	closed := make(chan struct{})
	wg.Go(func() { g.Close(gone); close(closed) })
	select {
	case <-closed:
		t.Error("Close did not wait for the run under way")
	case <-time.After(10 * time.Millisecond):
	}
	close(end)
	wg.Wait()
	refused()
}

// Try waits for nobody: neither for work under way, nor after Close.
func TestTry(t *testing.T) {
	var g Group
	g.Init()
	fault := errors.New("fault")
	if ran, err := g.Try(func() error { return fault }); !ran || err != fault {
		t.Errorf("alone: %v, %v", ran, err)
	}
	never := func() error { t.Error("work began"); return nil }
	try := func() error {
		if ran, err := g.Try(never); ran || err != nil {
			t.Errorf("%v, %v", ran, err)
		}
		return nil
	}
	_ = g.Do(try)
	_, _ = g.Try(try)
	// Who asks meanwhile is served by a run after it.
	began, runs := make(chan struct{}), 0
	var wg sync.WaitGroup
	wg.Go(func() {
		<-began
		if err := g.Do(func() error { runs++; return nil }); err != nil {
			t.Error(err)
		}
	})
	_, _ = g.Try(func() error {
		close(began)
		for !g.Waiting() {
			time.Sleep(time.Millisecond)
		}
		runs++
		return fault
	})
	wg.Wait()
	if runs != 2 {
		t.Errorf("%d runs", runs)
	}
	g.Close(fault)
	_ = try()
}
