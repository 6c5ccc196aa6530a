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
	for waiting := false; !waiting; time.Sleep(time.Millisecond) {
		g.mu.Lock()
		waiting = g.next != nil
		g.mu.Unlock()
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
