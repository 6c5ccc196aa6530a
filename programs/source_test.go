package programs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast.dev/holdfast/attach"
	"holdfast.dev/holdfast/internal/uffd"
)

func init() { programs["source"] = source }

const (
	// sourceProcesses each have a part of the volume, together more than the cache.
	sourceProcesses = 2
	sourceBytes     = 12 << 20
	sourceMost      = 256 << 10 // in one request: more than the server's input buffer
	sourceOps       = 600
)

// The source of a write call is a mapping of the very place that it writes to, and
// the destination of a read call one of the place that it reads: with files that
// was a deadlock over the page's lock. Here the calls are those on an NBD
// connection, so the server needs the page while the kernel waits for it to map
// the same one.
func TestSourceIsDestination(t *testing.T) {
	fd, err := uffd.Create(uffd.Announced)
	if err != nil {
		t.Skipf("this kernel cannot map volumes into other processes: %v", err)
	}
	fd.Close()
	if !fd.KernelFaults() {
		t.Skip("this machine does not deliver the kernel's own faults to this user")
	}
	variants(t, func(t *testing.T, m *machine) {
		path := filepath.Join(m.dir, "nbd.sock")
		l, err := m.pool.ListenUnix(path)
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- m.pool.Serve(l) }()
		m.run("source", sourceProcesses, "HOLDFAST_NBD="+path)
		m.close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// source writes and reads over NBD with its mapping as the buffer, and compares
// the mapping with a model.
func source(c *attach.Client, number int, r *rand.Rand) error {
	v, err := c.Map("main", int64(number)*sourceBytes, sourceBytes, storing())
	if err != nil {
		return err
	}
	n, err := dialNBD(os.Getenv("HOLDFAST_NBD"), "main")
	if err != nil {
		return err
	}
	model := make([]byte, sourceBytes)
	for i := range sourceOps {
		size := 512 * (1 + r.IntN(sourceMost/512))
		at := 512 * r.IntN((sourceBytes-size)/512)
		other := 512 * r.IntN((sourceBytes-size)/512)
		if r.IntN(2) == 0 {
			other = at // the same place, and otherwise often one that overlaps
		} else if r.IntN(2) == 0 {
			other = min(at+512*r.IntN(16), sourceBytes-size)
		}
		p := model[at : at+size]
		if r.IntN(2) == 0 {
			fill(p, byte(r.Uint32()))
			err = attach.Try(func() { copy(v.Bytes()[at:], p) })
		}
		base := uint64(number) * sourceBytes
		if err == nil && r.IntN(4) > 0 {
			err = n.request(nbdWrite, base+uint64(other), v.Bytes()[at:at+size])
			copy(model[other:], p)
		} else if err == nil {
			if other < at+size && at < other+size {
				other = at // the reply may still be on its way while it arrives
			}
			err = n.request(nbdRead, base+uint64(at), v.Bytes()[other:other+size])
			copy(model[other:], p)
		}
		if err != nil {
			return fmt.Errorf("operation %d, %d bytes at %d and %d: %w", i, size, at, other, err)
		}
		var same bool
		err = attach.Try(func() { same = bytes.Equal(v.Bytes()[other:other+size], model[other:other+size]) })
		if err != nil || !same {
			return fmt.Errorf("operation %d, %d bytes at %d and %d: the mapping is as it should be: %v, %v", i, size, at, other, same, err)
		}
	}
	var same bool
	if err = attach.Try(func() { same = bytes.Equal(v.Bytes(), model) }); err == nil && !same {
		err = errors.New("the mapping is not the model")
	}
	return errors.Join(err, v.Close())
}

func fill(p []byte, v byte) {
	for i := range p {
		p[i] = v + byte(i)
	}
}

const (
	nbdRead  = 0
	nbdWrite = 1
)

// nbdSocket is an NBD connection of which every call is a plain system call on
// the caller's own bytes.
type nbdSocket struct {
	fd   int
	last uint64
}

func dialNBD(path, export string) (*nbdSocket, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	n := &nbdSocket{fd: fd}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return nil, err
	}
	// Fixed newstyle without zeroes; then NBD_OPT_EXPORT_NAME.
	hello := make([]byte, 18)
	if err := n.read(hello); err != nil {
		return nil, err
	}
	option := binary.BigEndian.AppendUint32(nil, 3)
	option = append(option, "IHAVEOPT\x00\x00\x00\x01"...)
	option = append(binary.BigEndian.AppendUint32(option, uint32(len(export))), export...)
	if err := n.write(option); err != nil {
		return nil, err
	}
	return n, n.read(make([]byte, 10)) // size and flags
}

// request does one command whose data are p.
func (n *nbdSocket) request(kind uint16, off uint64, p []byte) error {
	n.last++
	head := binary.BigEndian.AppendUint32(nil, 0x25609513)
	head = binary.BigEndian.AppendUint32(head, uint32(kind))
	head = binary.BigEndian.AppendUint64(head, n.last)
	head = binary.BigEndian.AppendUint64(head, off)
	head = binary.BigEndian.AppendUint32(head, uint32(len(p)))
	if err := n.write(head); err != nil {
		return err
	}
	if kind == nbdWrite {
		if err := n.write(p); err != nil {
			return err
		}
	}
	reply := make([]byte, 16)
	if err := n.read(reply); err != nil {
		return err
	}
	if code := binary.BigEndian.Uint32(reply[4:]); code != 0 || binary.BigEndian.Uint64(reply[8:]) != n.last {
		return fmt.Errorf("reply % x", reply)
	}
	if kind == nbdRead {
		return n.read(p)
	}
	return nil
}

func (n *nbdSocket) write(p []byte) error {
	return all(p, func(p []byte) (int, error) { return unix.Write(n.fd, p) })
}

func (n *nbdSocket) read(p []byte) error {
	return all(p, func(p []byte) (int, error) { return unix.Read(n.fd, p) })
}

// all calls f until all of p is done. A signal of the runtime may cut a call off.
func all(p []byte, f func(p []byte) (int, error)) error {
	for len(p) > 0 {
		k, err := f(p)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case k == 0:
			return errors.New("the server hung up")
		default:
			p = p[k:]
		}
	}
	return nil
}
