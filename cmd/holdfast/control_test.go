package main

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast.dev/holdfast"
)

// controlled makes and opens a pool and starts its control socket.
func controlled(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "p")
	if err := holdfast.Create(dir, holdfast.CreateOptions{Legs: []string{filepath.Join(dir, "a.img")}, Size: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	pool, err := holdfast.Open(dir, holdfast.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	s, err := startControl(pool, dir, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.close(), pool.Close()); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// say sends bytes to the control socket and returns the reply's error.
func say(t *testing.T, dir, text string) string {
	t.Helper()
	conn, err := net.Dial("unix", controlPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go io.WriteString(conn, text)
	line, err := readLine(conn, replyLimit)
	if err != nil {
		t.Fatalf("no reply to %.40q: %v", text, err)
	}
	var r reply
	if err := json.Unmarshal(line, &r); err != nil || r.Version != controlVersion {
		t.Fatalf("to %.40q the reply is %s, %v", text, line, err)
	}
	return r.Error
}

func TestControlSurvivesGarbage(t *testing.T) {
	dir := controlled(t)
	for _, c := range []struct{ what, text, want string }{
		{"no JSON", "hello\n", "not a request"},
		{"JSON of another shape", "[1,2]\n", "not a request"},
		{"an empty line", "\n", "not a request"},
		{"bytes", "\x00\xff\xfe\n", "not a request"},
		{"a line that is too long", strings.Repeat("x", requestLimit+1), "no end, or is too long"},
		{"nested without end", strings.Repeat("[", requestLimit-1) + "\n", "not a request"},
		{"an unknown request", `{"version":1,"op":"erase"}` + "\n", "unknown request erase"},
		{"another version", `{"version":2,"op":"status"}` + "\n", "another release"},
	} {
		if got := say(t, dir, c.text); !strings.Contains(got, c.want) {
			t.Errorf("%s: the reply is %q, want %q", c.what, got, c.want)
		}
	}
	for _, op := range []string{"status", "flush"} {
		if _, err := ask(dir, op, time.Minute); err != nil {
			t.Errorf("%s afterwards: %v", op, err)
		}
	}
}

// Clients that connect and say nothing take places; when all are taken others
// are told, and when they leave the places are free.
func TestControlClientsAreBounded(t *testing.T) {
	dir := controlled(t)
	var silent []net.Conn
	for range controlClients {
		conn, err := net.Dial("unix", controlPath(dir))
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, conn)
	}
	if _, err := ask(dir, "status", time.Minute); err == nil || !strings.Contains(err.Error(), "too many clients") {
		t.Errorf("one client too many: %v", err)
	}
	for _, c := range silent {
		c.Close()
	}
	for {
		if _, err := ask(dir, "status", time.Minute); err == nil {
			return
		} else if !strings.Contains(err.Error(), "too many clients") {
			t.Fatal(err)
		}
	}
}

// A server that does not answer makes the client say so, not hang.
func TestClientDoesNotTrustTheServer(t *testing.T) {
	for what, answer := range map[string]func(net.Conn){
		"silence":         func(c net.Conn) { io.Copy(io.Discard, c) },
		"an early end":    func(c net.Conn) {},
		"no JSON":         func(c net.Conn) { io.WriteString(c, "hello\n") },
		"an endless line": func(c net.Conn) { c.Write(make([]byte, replyLimit+1)) },
	} {
		here, there := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer there.Close()
			if _, err := readLine(there, requestLimit); err == nil {
				answer(there)
			}
		}()
		if _, err := exchange(here, request{Op: "status"}, 50*time.Millisecond); err == nil {
			t.Errorf("%s: no error", what)
		}
		here.Close()
		<-done
	}
}

func TestURIs(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{unixURI("main", "holdfast-data/nbd.sock"), "nbd+unix:///main?socket=holdfast-data/nbd.sock"},
		{unixURI("v", "/a b&c/ü+.sock"), "nbd+unix:///v?socket=/a%20b%26c/%C3%BC%2B.sock"},
		{tcpURI("v", "[::1]:10809"), "nbd://[::1]:10809/v"},
		{shellQuote("plain/path-1.img"), "plain/path-1.img"},
		{shellQuote("it's"), `'it'\''s'`},
		{shellQuote("a b"), "'a b'"},
		{shellQuote(""), "''"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
}
