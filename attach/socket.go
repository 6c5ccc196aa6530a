package attach

import (
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// socket is one end of a connection: whole messages, some with a descriptor.
type socket struct {
	conn *net.UnixConn
	// sending is held while a message is sent, so that the deadline is its own.
	sending sync.Mutex
}

// send sends a message, with a descriptor unless fd is below zero. A peer that
// does not read is given up after sendTimeout.
func (s *socket) send(m *message, fd int) error {
	var p [messageSize]byte
	m.put(&p)
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	s.sending.Lock()
	defer s.sending.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	_, _, err := s.conn.WriteMsgUnix(p[:], rights, nil)
	return err
}

// receive waits for a message. It returns the descriptor that came with it, or
// -1; more than one, or one that came in a message that is refused, is closed.
func (s *socket) receive() (m message, fd int, err error) {
	// A byte more than a message has, so that a longer one is noticed.
	var p [messageSize + 1]byte
	oob := make([]byte, unix.CmsgSpace(4*maxDescriptors))
	n, oobn, flags, _, err := s.conn.ReadMsgUnix(p[:], oob)
	fds := descriptors(oob[:max(oobn, 0)])
	if err == nil && n == 0 && len(fds) == 0 {
		err = io.EOF
	}
	if err == nil {
		m, err = parse(p[:n])
	}
	if err == nil && (len(fds) > 1 || flags&unix.MSG_CTRUNC != 0) {
		err = fmt.Errorf("%w: more than one descriptor in a message", errProtocol)
	}
	if err != nil {
		closeAll(fds)
		return message{}, -1, err
	}
	if len(fds) == 1 {
		return m, fds[0], nil
	}
	return m, -1, nil
}

// hungUp says whether the other end is closed, also if nobody has read as far.
func (s *socket) hungUp() bool {
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return true
	}
	var found []unix.PollFd
	err = raw.Control(func(fd uintptr) {
		found = []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		_, _ = unix.Poll(found, 0) // without an answer it is as if it were open
	})
	return err != nil || found[0].Revents&(unix.POLLRDHUP|unix.POLLHUP) != 0
}

// descriptors finds the descriptors in a packet's control messages.
func descriptors(oob []byte) (fds []int) {
	controls, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		// Cut off by the kernel, which then has not installed what was cut.
		return nil
	}
	for i := range controls {
		if got, err := unix.ParseUnixRights(&controls[i]); err == nil {
			fds = append(fds, got...)
		}
	}
	return fds
}

func closeAll(fds []int) {
	for _, fd := range fds {
		closeFD(fd)
	}
}

// closeFD closes a descriptor that somebody sent, if there is one. There is
// nobody to tell of an error, which can only be that of its sender's file.
func closeFD(fd int) {
	if fd >= 0 {
		_ = unix.Close(fd)
	}
}

// credentials are what the kernel says of who connected.
func (s *socket) credentials() (cred unix.Ucred, err error) {
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return cred, err
	}
	var inner error
	err = raw.Control(func(fd uintptr) {
		var got *unix.Ucred
		if got, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); inner == nil {
			cred = *got
		}
	})
	if err == nil {
		err = inner
	}
	return cred, err
}
