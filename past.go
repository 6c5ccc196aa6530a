package holdfast

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"holdfast.dev/holdfast/internal/durable"
	"holdfast.dev/holdfast/mirror"
)

const (
	// pastName is the file in the pool's directory that holds what the pool knows of
	// the time before it was opened: what legs were charged with, and the scrub. It
	// lies here and not on the legs because a leg that is charged may take nothing
	// more, because superblocks are too dear to be written every few seconds, and
	// because nothing is lost with it but figures.
	pastName    = "state.json"
	pastVersion = 1
	// pastMode keeps it to the pool's owner, as events.jsonl is.
	pastMode = 0o600
	// pastLimit in bytes is far above what four legs and a scrub take.
	pastLimit = 64 << 10
	// pastPeriod is how often it is written, if something changed: what a killed
	// server does again of a scrub.
	pastPeriod = 5 * time.Second
	// keepPatience is how long Close waits for a file system that does not answer.
	keepPatience = 5 * time.Second
)

// pastFile is what the file holds.
type pastFile struct {
	Version int `json:"version"`
	mirror.Past
}

// loadPast reads what is known of the time before. Nothing is, if the error is not
// nil; no file is no error.
func loadPast(dir string) (mirror.Past, error) {
	f, err := os.Open(filepath.Join(dir, pastName))
	if errors.Is(err, fs.ErrNotExist) {
		return mirror.Past{}, nil
	}
	if err != nil {
		return mirror.Past{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, pastLimit))
	if err != nil {
		return mirror.Past{}, err
	}
	var p pastFile
	if err := json.Unmarshal(b, &p); err != nil {
		return mirror.Past{}, fmt.Errorf("%s: %w", f.Name(), err)
	}
	if p.Version != pastVersion {
		return mirror.Past{}, fmt.Errorf("%s: version %d, known is %d", f.Name(), p.Version, pastVersion)
	}
	return p.Past, nil
}

// keeper writes the past of an open pool: now and then, and when it is told to.
type keeper struct {
	dir  string
	log  *slog.Logger
	past func() mirror.Past

	halt, done chan struct{}

	mu struct {
		sync.Mutex // held across I/O
		written    []byte
		// failed says that the last attempt failed, which is told once.
		failed bool
		// closed says that the pool may be another process's.
		closed bool
	}
}

func newKeeper(dir string, log *slog.Logger, past func() mirror.Past) *keeper {
	k := &keeper{dir: dir, log: log, past: past, halt: make(chan struct{}), done: make(chan struct{})}
	go k.run()
	return k
}

func (k *keeper) run() {
	defer close(k.done)
	tick := time.NewTicker(pastPeriod)
	defer tick.Stop()
	for {
		select {
		case <-k.halt:
			return
		case <-tick.C:
			k.save()
		}
	}
}

// save writes the past, if it is another than before.
func (k *keeper) save() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.closed {
		return
	}
	b, err := json.MarshalIndent(pastFile{pastVersion, k.past()}, "", "  ")
	if err == nil && bytes.Equal(b, k.mu.written) {
		return
	}
	if err == nil {
		err = durable.Replace(filepath.Join(k.dir, pastName), append(b, '\n'), pastMode)
	}
	if err == nil {
		k.mu.written, k.mu.failed = b, false
	} else if !k.mu.failed {
		k.mu.failed = true
		k.log.Error("error counts and the scrub's place cannot be written down; the pool works on, and this is tried again", "error", err)
	}
}

// stop ends the task, and leaves what was written as it is.
func (k *keeper) stop() {
	close(k.halt)
	<-k.done
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.closed = true
}

// close ends the task and writes the past for the last time.
func (k *keeper) close() {
	saved := make(chan struct{})
	go func() {
		defer close(saved)
		k.save()
		k.stop()
	}()
	select {
	case <-saved:
	case <-time.After(keepPatience):
		k.log.Error("error counts and the scrub's place are still not written down: they are left", "waited", keepPatience)
	}
}
