package holdfast

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// unixPathMax is the longest path that the kernel takes for a Unix socket.
const unixPathMax = 107

// socketMode lets only the server's own user in: whoever reaches a socket can
// read and write every volume.
const socketMode = 0o600

// ListenUnix listens on a Unix socket at path, which lies in the pool's directory
// or belongs to the pool otherwise. A socket that a killed server left behind is
// replaced: only the holder of the pool's lock gets this far, so nobody listens
// there.
func (p *Pool) ListenUnix(path string) (net.Listener, error) {
	return listen("unix", path, socketMode)
}

// listen makes a Unix socket of a kind, with the mode from the moment it is there.
func listen(network, path string, mode uint32) (net.Listener, error) {
	if len(path) > unixPathMax {
		return nil, fmt.Errorf("%s: %w: a Unix socket's path has at most %d bytes, this one has %d; move the pool, or name it by a shorter path",
			path, ErrSettings, unixPathMax, len(path))
	}
	switch st, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case st.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%s: %w: a socket is to be made there, but there is something else; remove it", path, ErrSettings)
	default:
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	// The mode of an unbound socket becomes that of its file when it is bound,
	// so there is no moment at which others can connect.
	c := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		var failed error
		err := conn.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), mode) })
		return errors.Join(err, failed)
	}}
	return c.Listen(context.Background(), network, path)
}

// under returns the path that a setting names, relative to the pool's directory.
func under(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}
