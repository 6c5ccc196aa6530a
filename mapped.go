package holdfast

import (
	"errors"
	"net"
	"os"
	"slices"

	"holdfast.dev/holdfast/attach"
	"holdfast.dev/holdfast/cache"
)

// openSocketMode lets everybody ask, where the kernel says who does.
const openSocketMode = 0o666

// AttachAddress is the path of the Unix socket where holdfast.toml says that
// programs ask to have volumes mapped into their memory. It may be empty.
func (p *Pool) AttachAddress() string {
	if p.settings.Attach.Unix == "" {
		return ""
	}
	return under(p.dir, p.settings.Attach.Unix)
}

// ListenAttach makes the socket for ServeAttach. Other users can connect if
// holdfast.toml allows some of them; all others are refused when they do.
func (p *Pool) ListenAttach(path string) (net.Listener, error) {
	mode := uint32(socketMode)
	if len(p.settings.Attach.Allow) > 0 {
		mode = openSocketMode
	}
	return listen("unixpacket", path, mode)
}

// ServeAttach maps volumes into the memory of programs that connect to l, with
// the package attach or its C counterpart, until the pool is closed, and then
// returns nil. It closes l. Where the kernel lacks what that needs (Linux 6.6 has
// it all) it returns an error.
func (p *Pool) ServeAttach(l net.Listener) error {
	if err := p.mapper.Serve(l); !errors.Is(err, attach.ErrServerClosed) {
		return err
	}
	return nil
}

// RunGuardian has to be the first call of main in a program that serves mapped
// memory, so that it can be started again as the guardian of that memory: if the
// server is killed, the guardian sees to it that no client hangs (see the package
// attach). Without this call there is no guardian.
func RunGuardian() { attach.RunGuardian() }

// mapping is how the attach server finds a volume.
func (p *Pool) mapping(name string) (*cache.Mapping, error) {
	m, err := p.find(name)
	return m.mapping, err
}

// mayAttach says whether a user may map volumes.
func (p *Pool) mayAttach(uid uint32) bool {
	return int(uid) == os.Geteuid() || slices.Contains(p.settings.Attach.Allow, uid)
}
