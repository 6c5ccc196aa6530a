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
	// 65536 transfers in all queues (fs.aio-max-nr), of which this takes 2 %. Who
	// finds none free moves his parts one by one, beside so many others.
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

// ReadScattered fills all parts. Those that may come through the direct descriptor
// the kernel gets together.
func (f *File) ReadScattered(parts []Part) error {
	for i := range parts {
		p := &parts[i]
		if err := CheckRange(f.size, p.Off, int64(len(p.P))); err != nil {
			return f.fail("read", p.Off, int64(len(p.P)), err)
		}
	}
	if err := f.begin("read", 0, 0); err != nil {
		return err
	}
	defer f.gate.leave()
	return f.moveParts(aio.Read, parts)
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
	return f.moveParts(aio.Write, parts)
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

// moveParts reads or writes parts for a call that was let in.
func (f *File) moveParts(op aio.Op, parts []Part) error {
	for len(parts) > 0 {
		n := min(len(parts), togetherMax)
		if err := f.moveSome(op, parts[:n]); err != nil {
			return err
		}
		parts = parts[n:]
	}
	return nil
}

// moveSome reads or writes at most togetherMax parts.
func (f *File) moveSome(op aio.Op, parts []Part) error {
	var q *aio.Queue
	if len(parts) > 1 { // one takes one system call
		q = f.queues.get()
	}
	if q != nil {
		defer f.queues.put(q)
		f.moveTogether(q, op, parts)
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
		// What came to nothing or was cut short is moved alone, as a single part is.
		if err == nil || err == unix.EINVAL || err == unix.EAGAIN || err == unix.EINTR {
			err = f.moveOne(op, p)
		}
		if err != nil {
			return f.ended(opName(op), p.Off, len(p.P), err)
		}
	}
	return nil
}

// moveTogether does what it can of the parts that fit the direct descriptor.
func (f *File) moveTogether(q *aio.Queue, op aio.Op, parts []Part) {
	for i := range parts {
		if f.fits(parts[i].P, parts[i].Off) {
			q.Add(op, f.direct, parts[i].P, parts[i].Off)
		}
	}
	f.alone.RLock()
	defer f.alone.RUnlock()
	q.Run()
}

func (f *File) moveOne(op aio.Op, p *Part) (err error) {
	if op == aio.Read {
		_, err = f.read(p.P, p.Off)
	} else {
		_, err = f.write(p.P, p.Off)
	}
	return err
}

func opName(op aio.Op) string {
	if op == aio.Read {
		return "read"
	}
	return "write"
}

var _ Scattered = (*File)(nil)
