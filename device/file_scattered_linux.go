package device

import (
	"sync"

	"golang.org/x/sys/unix"
	"holdfast.dev/holdfast/internal/aio"
)

const (
	// togetherMax is the most parts that are given to the kernel at once: more
	// than disks work on at a time gain nothing.
	togetherMax = 64

	// maxQueues is how many queues a File has at most. The system has room for
	// 65536 writes in all queues (fs.aio-max-nr), of which this takes 2 %. Who
	// finds none free writes one by one, beside so many others.
	maxQueues = 16
)

// queues are those of a File that are in nobody's hands.
type queues struct {
	mu sync.Mutex
	// All below is guarded by mu.
	idle []*aio.Queue
	made int
	none bool // the kernel gave out no more
}

// get returns a queue, or nil if none is to be had.
func (q *queues) get() *aio.Queue {
	q.mu.Lock()
	defer q.mu.Unlock()
	if k := len(q.idle); k > 0 {
		last := q.idle[k-1]
		q.idle = q.idle[:k-1]
		return last
	}
	if q.none || q.made == maxQueues {
		return nil
	}
	made, err := aio.New(togetherMax)
	if err != nil {
		q.none = true
		return nil
	}
	q.made++
	return made
}

func (q *queues) put(one *aio.Queue) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.idle = append(q.idle, one)
}

// close closes the queues, all of which are idle.
func (q *queues) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, one := range q.idle {
		one.Close()
	}
	q.idle, q.none = nil, true
}

// WriteScattered writes all parts. Those that may go through the direct
// descriptor the kernel gets together.
func (f *File) WriteScattered(parts []Part) error {
	for i := range parts {
		if err := f.checkPart(&parts[i]); err != nil {
			return err
		}
	}
	if err := f.beginChange("write", 0, 0); err != nil {
		return err
	}
	defer f.gate.leave()
	for len(parts) > 0 {
		n := min(len(parts), togetherMax)
		if err := f.writeParts(parts[:n]); err != nil {
			return err
		}
		parts = parts[n:]
	}
	return nil
}

func (f *File) checkPart(p *Part) error {
	if err := CheckRange(f.size, p.Off, int64(len(p.P))); err != nil {
		return f.fail("write", p.Off, int64(len(p.P)), err)
	}
	if p.Sums != nil {
		return CheckGuards(p.P, p.Off, p.Sums)
	}
	return nil
}

// writeParts writes at most togetherMax parts.
func (f *File) writeParts(parts []Part) error {
	var q *aio.Queue
	if len(parts) > 1 { // one is written by one system call
		q = f.queues.get()
	}
	if q != nil {
		defer f.queues.put(q)
		f.writeTogether(q, parts)
	}
	k := 0
	for i := range parts {
		p := &parts[i]
		var done int
		var err error
		if q != nil && f.fits(p.P, p.Off) {
			done, err = q.Result(k)
			k++
		}
		if err == nil && done == len(p.P) {
			continue
		}
		// What came to nothing or was cut short is written alone, as a single
		// write is.
		if err == nil || err == unix.EINVAL || err == unix.EAGAIN || err == unix.EINTR {
			_, err = f.write(p.P, p.Off)
		}
		if err != nil {
			return f.ended("write", p.Off, len(p.P), err)
		}
	}
	return nil
}

// writeTogether does what it can of the parts that fit the direct descriptor.
func (f *File) writeTogether(q *aio.Queue, parts []Part) {
	for i := range parts {
		if f.fits(parts[i].P, parts[i].Off) {
			q.Add(f.direct, parts[i].P, parts[i].Off)
		}
	}
	f.alone.RLock()
	defer f.alone.RUnlock()
	q.Run()
}

var _ Scattered = (*File)(nil)
