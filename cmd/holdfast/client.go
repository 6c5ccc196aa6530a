package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// errNotServed says that no server answers for a pool.
var errNotServed = errors.New("is not being served")

// ask sends a request to the server of the pool in dir. The answer is awaited
// for as long as patience says; 0: as long as it takes.
func ask(dir, op string, patience time.Duration) (reply, error) {
	return askFor(dir, request{Op: op}, patience)
}

// askFor is ask with more than a word.
func askFor(dir string, q request, patience time.Duration) (reply, error) {
	if _, err := os.Stat(dir); err != nil {
		return reply{}, err
	}
	conn, err := net.DialTimeout("unix", controlPath(dir), controlPatience)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return reply{}, fmt.Errorf("%s %w; start it with: holdfast serve %s", dir, errNotServed, shellQuote(dir))
	}
	if err != nil {
		return reply{}, err
	}
	defer conn.Close()
	q.Version = controlVersion
	r, err := exchange(conn, q, patience)
	if err != nil {
		return reply{}, fmt.Errorf("the server of %s: %w", dir, err)
	}
	if r.Error != "" {
		return reply{}, errors.New(r.Error)
	}
	return r, nil
}

func exchange(conn net.Conn, q request, patience time.Duration) (r reply, err error) {
	b, err := json.Marshal(q)
	if err != nil {
		return r, err
	}
	conn.SetWriteDeadline(time.Now().Add(controlPatience))
	// A server that turns clients away answers before it is asked, and closes.
	if _, err := conn.Write(append(b, '\n')); err != nil && !errors.Is(err, syscall.EPIPE) {
		return r, err
	}
	if patience > 0 {
		conn.SetReadDeadline(time.Now().Add(patience))
	}
	line, err := readLine(conn, replyLimit)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return r, fmt.Errorf("it did not answer within %v", patience)
	}
	if errors.Is(err, errNoLine) {
		return r, errors.New("it ended before it answered")
	}
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(line, &r)
}
