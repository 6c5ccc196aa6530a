package programs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"holdfast.dev/holdfast"
	"holdfast.dev/holdfast/attach"
)

// fsxSize is the part of the volume that fsx works on: small enough that
// operations meet.
const fsxSize = 1 << 20

// What the parent asks of the child: a byte, an offset, a length, bytes.
const (
	opLoad byte = iota + 1
	opStore
	opSync
	opRemap
	opForget
)

// TestFsx does random reads, writes, loads, stores, discards, zeroings, syncs and
// remappings, and now and then closes the pool and opens it again, and compares
// everything that is read or loaded with a model (fsx, of NeXT's and later every
// file system's test suite).
func TestFsx(t *testing.T) {
	variants(t, func(t *testing.T, m *machine) {
		f := &fsx{m: m, rng: rand.New(rand.NewPCG(*seedFlag, 5)), model: make([]byte, fsxSize)}
		f.begin()
		for i := range *opsFlag {
			if err := f.step(); err != nil {
				t.Fatalf("operation %d of seed %d: %v", i, *seedFlag, err)
			}
			if f.rng.IntN(*opsFlag/4+1) == 0 {
				f.end()
				f.m.close()
				f.m.open()
				f.begin()
			}
		}
		f.end()
	})
}

type fsx struct {
	m     *machine
	rng   *rand.Rand
	model []byte
	v     *holdfast.Volume
	child fsxPipe
	wait  func() error
}

// fsxPipe is the parent's end of the child.
type fsxPipe struct {
	w io.WriteCloser
	r *bufio.Reader
}

func (f *fsx) begin() {
	v, err := f.m.pool.Volume("main")
	if err != nil {
		f.m.t.Fatal(err)
	}
	f.v = v
	cmd := f.m.start("fsx", 0)
	in, err := cmd.StdinPipe()
	if err != nil {
		f.m.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		f.m.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.m.t.Fatal(err)
	}
	f.child = fsxPipe{in, bufio.NewReader(out)}
	f.wait = cmd.Wait
	f.m.t.Cleanup(func() { cmd.Process.Kill() })
}

func (f *fsx) end() {
	f.m.t.Helper()
	f.child.w.Close()
	rest, _ := io.ReadAll(f.child.r)
	if err := f.wait(); err != nil {
		f.m.t.Errorf("the child: %v: %s", err, rest)
	}
	if err := f.v.Close(); err != nil {
		f.m.t.Error(err)
	}
}

func (f *fsx) step() error {
	off := f.rng.Int64N(fsxSize)
	n := min(1+f.rng.Int64N(3*pageSize), fsxSize-off)
	if f.rng.IntN(2) == 0 {
		off, n = off&^511, (n+511)&^511
		n = min(n, fsxSize-off)
	}
	p := make([]byte, n)
	switch f.rng.IntN(16) {
	case 0, 1, 2:
		_, err := f.v.ReadAt(p, off)
		return f.compare("read", p, off, err)
	case 3, 4, 5:
		err := f.child.ask(opLoad, off, n, nil, p)
		return f.compare("load", p, off, err)
	case 6, 7, 8:
		f.fill(p)
		copy(f.model[off:], p)
		_, err := f.v.WriteAt(p, off)
		return err
	case 9, 10, 11:
		f.fill(p)
		copy(f.model[off:], p)
		return f.child.ask(opStore, off, n, p, nil)
	case 12:
		clear(f.model[off : off+n])
		if f.rng.IntN(2) == 0 {
			return f.v.WriteZeroes(off, n)
		}
		return f.v.Discard(off, n)
	case 13:
		if f.rng.IntN(2) == 0 {
			return f.v.SyncRange(off, n)
		}
		return f.child.ask(opSync, off, n, nil, nil)
	case 14:
		return f.child.ask(opForget, off, n, nil, nil)
	default:
		if f.rng.IntN(20) > 0 {
			return nil
		}
		return f.child.ask(opRemap, 0, 0, nil, nil)
	}
}

// fill makes bytes that tell where they came from.
func (f *fsx) fill(p []byte) {
	v := byte(f.rng.Uint32())
	for i := range p {
		p[i] = v + byte(i)
	}
}

func (f *fsx) compare(what string, got []byte, off int64, err error) error {
	if err != nil {
		return fmt.Errorf("%s of %d bytes at %d: %w", what, len(got), off, err)
	}
	if want := f.model[off:][:len(got)]; !bytes.Equal(got, want) {
		at := 0
		for got[at] == want[at] {
			at++
		}
		return fmt.Errorf("%s of %d bytes at %d: byte %d is %d, want %d", what, len(got), off, off+int64(at), got[at], want[at])
	}
	return nil
}

// ask has the child do one operation; got is filled with what it sends back.
func (c *fsxPipe) ask(op byte, off, n int64, p, got []byte) error {
	head := binary.LittleEndian.AppendUint64([]byte{op}, uint64(off))
	head = binary.LittleEndian.AppendUint64(head, uint64(n))
	if _, err := c.w.Write(append(head, p...)); err != nil {
		return err
	}
	ok, err := c.r.ReadByte()
	if err != nil {
		return fmt.Errorf("the child is gone: %w", err)
	}
	if ok != 1 {
		line, _ := c.r.ReadString('\n')
		return fmt.Errorf("the child: %s", line)
	}
	_, err = io.ReadFull(c.r, got)
	return err
}

// fsxChild does what it is asked with the volume mapped, until its input ends.
func fsxChild(c *attach.Client, _ int, _ *rand.Rand) error {
	v, err := c.Map("main", 0, fsxSize, storing())
	if err != nil {
		return err
	}
	in := bufio.NewReader(os.Stdin)
	head := make([]byte, 17)
	buf := make([]byte, 4*pageSize)
	for {
		if _, err := io.ReadFull(in, head); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		off, n := int64(binary.LittleEndian.Uint64(head[1:])), int64(binary.LittleEndian.Uint64(head[9:]))
		reply := []byte{1}
		switch head[0] {
		case opLoad:
			err = attach.Try(func() { copy(buf, v.Bytes()[off:off+n]) })
			reply = append(reply, buf[:n]...)
		case opStore:
			if _, err := io.ReadFull(in, buf[:n]); err != nil {
				return err
			}
			err = attach.Try(func() { copy(v.Bytes()[off:], buf[:n]) })
		case opSync:
			err = v.SyncRange(off, n)
		case opForget:
			err = v.Advise(off, n, attach.DontNeed)
		case opRemap:
			if err = v.Close(); err == nil {
				v, err = c.Map("main", 0, fsxSize, storing())
			}
		}
		if err != nil {
			reply = fmt.Appendf([]byte{0}, "%v\n", err)
		}
		if _, err := os.Stdout.Write(reply); err != nil {
			return err
		}
	}
}
