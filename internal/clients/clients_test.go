package clients

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A set accepts until it is closed, takes as many clients as it may, and waits
// for those it has.
func TestLife(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	s := New[net.Conn](2)
	verdicts := make(chan error)
	var wg sync.WaitGroup
	wg.Go(func() {
		err := s.Accept(l, func(c net.Conn) {
			err := s.Add(c)
			if err != nil {
				c.Close()
			}
			verdicts <- err
		}, func(err error) { t.Error(err) })
		if err != ErrClosed {
			t.Errorf("Accept ended with %v", err)
		}
	})
	for i, want := range []error{nil, nil, ErrFull} {
		c, err := net.Dial("unix", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := <-verdicts; got != want {
			t.Errorf("client %d: %v, want %v", i, got, want)
		}
	}
	s.Close()
	wg.Wait()
	if !s.Closed() || s.Add(nil) != ErrClosed || !errors.Is(s.Accept(l, nil, nil), ErrClosed) {
		t.Error("a closed set goes on")
	}
	short, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if n := s.Wait(short); n != 2 {
		t.Errorf("%d clients are left, want 2", n)
	}
	var all []net.Conn
	seen := 0
	s.Each(func(c net.Conn, since time.Time) { all = append(all, c) }, func() { seen = len(all) })
	if seen != 2 {
		t.Errorf("%d clients were seen", seen)
	}
	gone := 0
	for _, c := range all {
		wg.Go(func() { c.Close(); s.Remove(c, func() { gone++ }) })
	}
	if n := s.Wait(context.Background()); n != 0 || gone != 2 {
		t.Errorf("%d clients are left, %d have gone", n, gone)
	}
	wg.Wait()
}

// A listener that somebody else closes is an error, not the end of the server.
func TestListenerClosed(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := New[int](1).Accept(l, nil, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept ended with %v", err)
	}
}
