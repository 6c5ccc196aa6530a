package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"holdfast.dev/holdfast"
)

// The control protocol: on a Unix socket in the pool's directory the client
// sends one line of JSON, a request; the server answers with one, a reply, and
// closes. Flush and leg are answered when they are done, status at once.
const (
	controlSocket  = "control.sock"
	controlVersion = 1

	// requestLimit in bytes is far above any request: two paths.
	requestLimit = 64 << 10
	// replyLimit in bytes is far above the status of the largest pool.
	replyLimit = 4 << 20
	// controlPatience is how long either side waits for the other to send or
	// take a line, other than for a flush to be done.
	controlPatience = 5 * time.Second
	// controlClients at once are served; more are turned away.
	controlClients = 32
)

type request struct {
	Version int    `json:"version"`
	Op      string `json:"op"`
	// Leg is what Op "leg" asks for.
	Leg *legRequest `json:"leg,omitempty"`
	// Scrub is what Op "scrub" asks for.
	Scrub *scrubRequest `json:"scrub,omitempty"`
	// Clear is the leg of Op "clear"; empty for all.
	Clear string `json:"clear,omitempty"`
	// Share is what Op "resync" sets.
	Share float64 `json:"share,omitempty"`
}

type reply struct {
	Version int              `json:"version"`
	Error   string           `json:"error,omitempty"`
	Status  *holdfast.Status `json:"status,omitempty"`
}

// controlServer answers requests about a pool.
type controlServer struct {
	pool *holdfast.Pool
	l    net.Listener
	log  *slog.Logger
	// slots holds a token for each client that is served.
	slots   chan struct{}
	clients sync.WaitGroup
}

// startControl begins to answer requests about pool.
func startControl(pool *holdfast.Pool, dir string, log *slog.Logger) (*controlServer, error) {
	l, err := pool.ListenUnix(controlPath(dir))
	if err != nil {
		return nil, err
	}
	s := &controlServer{pool: pool, l: l, log: log, slots: make(chan struct{}, controlClients)}
	s.clients.Go(s.accept)
	return s, nil
}

// close stops answering, once the requests that arrived are answered.
func (s *controlServer) close() error {
	err := s.l.Close()
	s.clients.Wait()
	return err
}

func (s *controlServer) accept() {
	for {
		conn, err := s.l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.log.Error("the control socket failed to accept; trying again", "err", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		select {
		case s.slots <- struct{}{}:
			s.clients.Go(func() {
				defer func() { <-s.slots }()
				s.serve(conn)
			})
		default:
			s.answer(conn, reply{Error: "too many clients on the control socket; try again"})
			conn.Close()
		}
	}
}

// serve answers one client.
func (s *controlServer) serve(conn net.Conn) {
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(controlPatience))
	var r request
	line, err := readLine(conn, requestLimit)
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	if err != nil {
		s.answer(conn, reply{Error: "not a request: " + err.Error()})
		return
	}
	s.answer(conn, s.do(r))
}

func (s *controlServer) do(r request) reply {
	switch {
	case r.Version != controlVersion:
		return reply{Error: "the server is of another release; use the same for both"}
	case r.Op == "status":
		st := s.pool.Status()
		return reply{Status: &st}
	case r.Op == "flush":
		return failure(s.pool.Sync())
	case r.Op == "leg" && r.Leg != nil:
		return failure(r.Leg.do(s.pool))
	case r.Op == "scrub" && r.Scrub != nil:
		return failure(r.Scrub.do(s.pool))
	case r.Op == "clear":
		return failure(s.pool.ClearErrors(r.Clear))
	case r.Op == "resync":
		return failure(s.pool.SetResyncShare(r.Share))
	case r.Op == "scrub-stop":
		s.pool.StopScrub()
		return reply{}
	default:
		return reply{Error: "unknown request " + r.Op}
	}
}

// failure is the reply to what succeeds with nothing to say.
func failure(err error) reply {
	if err == nil {
		return reply{}
	}
	return reply{Error: oneLine(err)}
}

func (s *controlServer) answer(conn net.Conn, r reply) {
	r.Version = controlVersion
	b, err := json.Marshal(r)
	if err != nil {
		s.log.Error("a control reply could not be encoded", "err", err)
		return
	}
	conn.SetWriteDeadline(time.Now().Add(controlPatience))
	// A client that does not take its answer loses only that.
	conn.Write(append(b, '\n'))
}

// readLine reads up to a newline, or fails if it does not come within limit bytes.
func readLine(r io.Reader, limit int64) ([]byte, error) {
	line, err := bufio.NewReader(io.LimitReader(r, limit)).ReadBytes('\n')
	if errors.Is(err, io.EOF) {
		return nil, errNoLine
	}
	return line, err
}

var errNoLine = errors.New("the line has no end, or is too long")

// controlPath is where the server of the pool in dir listens.
func controlPath(dir string) string { return filepath.Join(dir, controlSocket) }
