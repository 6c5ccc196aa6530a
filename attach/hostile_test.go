package attach

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/internal/uffd"
)

// enemy is a client that sends what it likes, from this process: it never
// touches what it maps.
type enemy struct {
	t    testing.TB
	sock socket
}

func (h *house) enemy() *enemy {
	h.t.Helper()
	conn, err := net.Dial("unixpacket", h.socket)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	return &enemy{h.t, socket{conn: conn.(*net.UnixConn)}}
}

// ask sends a request, and returns its reply, whatever it says.
func (e *enemy) ask(m message, fd int) message {
	e.t.Helper()
	if err := e.sock.send(&m, fd); err != nil {
		e.t.Fatal(err)
	}
	e.sock.conn.SetReadDeadline(time.Now().Add(time.Minute))
	r, got, err := e.sock.receive()
	closeFD(got)
	if err != nil {
		e.t.Fatal(err)
	}
	return r
}

// window says hello and has a window that waits for its userfaultfd.
func (e *enemy) window() message {
	e.t.Helper()
	e.ask(message{kind: kindHello}, -1)
	return e.ask(message{kind: kindMap, flags: uint32(ReadWrite), n: 16 * cache.PageSize, text: "vol"}, -1)
}

// detached waits until the server hangs up.
func (e *enemy) detached() {
	e.t.Helper()
	e.sock.conn.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		if _, fd, err := e.sock.receive(); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				e.t.Fatal("still there")
			}
			return
		} else if fd >= 0 {
			closeFD(fd)
		}
	}
}

// send sends bytes, with descriptors.
func (e *enemy) send(p []byte, fds ...int) {
	e.t.Helper()
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	if _, _, err := e.sock.conn.WriteMsgUnix(p, rights, nil); err != nil {
		e.t.Fatal(err)
	}
}

func packet(m message) []byte {
	var p [messageSize]byte
	m.put(&p)
	return p[:]
}

// area is memory of this process, for an enemy to offer.
func area(t *testing.T, pages int) []byte {
	t.Helper()
	p, err := unix.Mmap(-1, 0, pages*cache.PageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(p) })
	return p
}

func address(p []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&p[0]))) }

func TestHostile(t *testing.T) {
	devnull, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer devnull.Close()
	null := int(devnull.Fd())
	created := func(t *testing.T) *uffd.FD {
		fd, err := uffd.Create(uffd.Announced)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { fd.Close() })
		return fd
	}
	for _, c := range []struct {
		name, log string
		attack    func(t *testing.T, e *enemy)
	}{
		{"garbage", "magic", func(_ *testing.T, e *enemy) {
			e.send(bytes.Repeat([]byte("x"), messageSize))
		}},
		{"half a message", "64 bytes", func(_ *testing.T, e *enemy) {
			e.ask(message{kind: kindHello}, -1)
			e.send(packet(message{kind: kindSync})[:64])
		}},
		{"too long", "129 bytes", func(_ *testing.T, e *enemy) {
			e.send(make([]byte, 4096))
		}},
		{"another version", "version 2", func(_ *testing.T, e *enemy) {
			p := packet(message{kind: kindHello})
			p[4] = 2
			e.send(p)
		}},
		{"reserved field", "reserved", func(_ *testing.T, e *enemy) {
			p := packet(message{kind: kindHello})
			p[56] = 2
			e.send(p)
		}},
		{"no hello", "instead of a hello", func(_ *testing.T, e *enemy) {
			e.send(packet(message{kind: kindMap, text: "vol"}))
		}},
		{"silence", "timeout", func(_ *testing.T, e *enemy) {}},
		{"unknown request", "unknown", func(_ *testing.T, e *enemy) {
			w := e.window()
			e.send(packet(message{kind: 999, window: w.window}))
		}},
		{"unexpected descriptor", "a descriptor with", func(_ *testing.T, e *enemy) {
			e.ask(message{kind: kindHello}, -1)
			e.send(packet(message{kind: kindMap, text: "vol"}), null)
		}},
		{"many descriptors", "more than one", func(_ *testing.T, e *enemy) {
			w := e.window()
			fds := make([]int, 200)
			for i := range fds {
				fds[i] = null
			}
			e.send(packet(message{kind: kindServe, window: w.window}), fds...)
		}},
		{"no descriptor", "no descriptor", func(_ *testing.T, e *enemy) {
			w := e.window()
			e.send(packet(message{kind: kindServe, window: w.window, addr: 1 << 32}))
		}},
		{"wrong descriptor", "not a userfaultfd", func(_ *testing.T, e *enemy) {
			w := e.window()
			e.send(packet(message{kind: kindServe, window: w.window, addr: 1 << 32}), null)
		}},
		{"no userfaultfd in time", "no userfaultfd came", func(_ *testing.T, e *enemy) {
			e.window()
		}},
		{"misaligned", "at 0x10001", func(t *testing.T, e *enemy) {
			w := e.window()
			e.send(packet(message{kind: kindServe, window: w.window, addr: 0x10001}), created(t).Fd())
		}},
		{"beyond every address", "at 0xffff", func(t *testing.T, e *enemy) {
			w := e.window()
			e.send(packet(message{kind: kindServe, window: w.window, addr: 0xffff_ffff_ffff_f000}), created(t).Fd())
		}},
		{"foreign memory", "not registered", func(t *testing.T, e *enemy) {
			w := e.window()
			e.send(packet(message{kind: kindServe, window: w.window, addr: address(area(t, 16))}), created(t).Fd())
		}},
		{"kernel memory", "", func(t *testing.T, e *enemy) {
			w := e.window()
			e.send(packet(message{kind: kindServe, window: w.window, addr: maxAddress - 16*cache.PageSize}), created(t).Fd())
		}},
		{"served twice", "a second one", func(t *testing.T, e *enemy) {
			w := e.window()
			mem, fd := area(t, 16), created(t)
			if err := fd.Register(uintptr(address(mem)), len(mem)); err != nil {
				t.Fatal(err)
			}
			e.ask(message{kind: kindServe, window: w.window, addr: address(mem)}, fd.Fd())
			e.send(packet(message{kind: kindServe, window: w.window, addr: address(mem)}), fd.Fd())
		}},
		{"half registered", "not registered", func(t *testing.T, e *enemy) {
			w := e.window()
			mem, fd := area(t, 16), created(t)
			if err := fd.Register(uintptr(address(mem)), len(mem)/2); err != nil {
				t.Fatal(err)
			}
			e.send(packet(message{kind: kindServe, window: w.window, addr: address(mem)}), fd.Fd())
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t, Options{HandshakeTimeout: 2 * time.Second})
			good := h.client(16)
			e := h.enemy()
			c.attack(t, e)
			wantThrownOut(t, h, e, good, c.log)
		})
	}
}

// Memory that is registered, but not the volume's, is its owner's own affair.
func TestOtherMemory(t *testing.T) {
	h := newHouse(t, Options{})
	good := h.client(16)
	good.do("store 1 1", "ok")
	e := h.enemy()
	w := e.window()
	mem := area(t, 16)
	fd, err := uffd.Create(uffd.Announced)
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	if err := fd.Register(uintptr(address(mem)), len(mem)); err != nil {
		t.Fatal(err)
	}
	if r := e.ask(message{kind: kindServe, window: w.window, addr: address(mem)}, fd.Fd()); r.status != statusOK {
		t.Fatal(r)
	}
	// The answer may not come any more.
	e.send(packet(message{kind: kindAdvise, window: w.window, n: 16 * cache.PageSize, flags: uint32(WillNeed)}))
	e.detached()
	good.do("store 1 2", "ok")
	good.do("sync", "ok")
	h.stored(1, 2)
}

// Requests that are merely wrong are refused, however many there are.
func TestThousandsOfRequests(t *testing.T) {
	h := newHouse(t, Options{})
	good := h.client(16)
	e := h.enemy()
	w := e.window()
	ended := make(chan error, 1)
	const rounds = 3000
	go func() {
		for i := range rounds {
			m := message{kind: kindSync, window: w.window, n: 16 * cache.PageSize, id: uint64(i)}
			switch i % 3 {
			case 1:
				m.off = 20 * cache.PageSize // of the volume, not of the window
			case 2:
				m.window = 77
			}
			if err := e.sock.send(&m, -1); err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	counts := map[uint32]int{}
	for range rounds {
		m, _, err := e.sock.receive()
		if err != nil {
			t.Fatal(err)
		}
		counts[m.status]++
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if counts[statusOK] != rounds/3 || counts[statusInvalid] != rounds/3*2 {
		t.Errorf("%v", counts)
	}
	good.do("store 1 1", "ok")
	good.do("sync", "ok")
}

// A client that does not read its replies is let go.
func TestUnreadReplies(t *testing.T) {
	h := newHouse(t, Options{HandshakeTimeout: time.Hour})
	good := h.client(16)
	e := h.enemy()
	w := e.window()
	m := message{kind: kindSync, window: w.window, n: cache.PageSize}
	for e.sock.send(&m, -1) == nil {
	}
	h.clients(1)
	good.do("store 1 1", "ok")
	good.do("sync", "ok")
}

func TestLimitsOfClients(t *testing.T) {
	h := newHouse(t, Options{MaxClients: 2})
	a, b := h.client(1), h.client(1)
	e := h.enemy()
	e.detached()
	a.do("close", "ok")
	h.clients(1)
	b.do("store 0 1", "ok")
	h.client(1).do("load 0", "ok 1")
}

func TestDenied(t *testing.T) {
	h := newHouse(t, Options{Allow: func(uid uint32) bool { return false }})
	_, err := Open(context.Background(), h.socket)
	if !errors.Is(err, ErrDenied) {
		t.Fatal(err)
	}
	h.clients(0)
	if lines := h.log.lines(); len(lines) != 1 {
		t.Errorf("%q", lines)
	}
}

// What a window for reading only hands out cannot be stored through.
func TestReadOnlyDescriptor(t *testing.T) {
	h := newHouse(t, Options{})
	c, err := Open(context.Background(), h.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a, err := c.ask(&message{kind: kindMap, text: "vol", n: cache.PageSize}, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer closeFD(a.fd)
	if _, err := unix.Pwrite(a.fd, []byte{1}, 0); !errors.Is(err, unix.EBADF) {
		t.Errorf("stored: %v", err)
	}
	if _, err := unix.Mmap(a.fd, 0, cache.PageSize, unix.PROT_WRITE, unix.MAP_SHARED); !errors.Is(err, unix.EACCES) {
		t.Errorf("mapped: %v", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(a.fd, &st); err != nil || st.Mode&0o777 != 0o600 {
		t.Errorf("others may open it: mode %o, %v", st.Mode, err)
	}
}

// Descriptors that nobody asked for do not pile up.
func TestDescriptorsAreClosed(t *testing.T) {
	h := newHouse(t, Options{})
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	fd := int(null.Fd())
	open := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	before := open()
	for range 20 {
		for _, attack := range []func(e *enemy, w message){
			func(e *enemy, w message) { e.send(packet(message{kind: kindSync, window: w.window}), fd) },
			func(e *enemy, w message) {
				e.send(packet(message{kind: kindServe, window: w.window, addr: 1 << 32}), fd, fd, fd)
			},
			func(e *enemy, w message) { e.send(packet(message{kind: kindServe, window: w.window, addr: 1}), fd) },
			func(e *enemy, w message) {
				e.send(packet(message{kind: kindServe, window: w.window, addr: 1 << 32}), fd)
			},
			func(e *enemy, w message) { e.send([]byte("short"), fd, fd) },
			func(e *enemy, w message) {
				e.send(packet(message{kind: kindServe, window: 99}), fd)
				e.sock.conn.Close()
			},
		} {
			e := h.enemy()
			attack(e, e.window())
			e.detached()
			e.sock.conn.Close()
		}
	}
	h.clients(0)
	if after := open(); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}
