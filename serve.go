package holdfast

import (
	"errors"
	"fmt"
	"net"

	"holdfast.dev/holdfast/nbd"
)

// Addresses returns where holdfast.toml says that the volumes are served: the
// path of a Unix socket and a TCP address. Either may be empty.
func (p *Pool) Addresses() (unix, tcp string) {
	if p.settings.NBD.Unix != "" {
		unix = under(p.dir, p.settings.NBD.Unix)
	}
	return unix, p.settings.NBD.TCP
}

// Serve offers all volumes over NBD on l until the pool is closed, and then
// returns nil. It closes l. The first volume is the default export.
func (p *Pool) Serve(l net.Listener) error {
	if err := p.server.Serve(l); !errors.Is(err, nbd.ErrServerClosed) {
		return err
	}
	return nil
}

// exports are the pool's volumes as NBD clients see them.
type exports struct{ p *Pool }

func (e exports) List() []nbd.Info {
	var all []nbd.Info
	for _, m := range e.p.all() {
		all = append(all, nbd.Info{Name: m.vol.Name(), Size: m.mapping.Size()})
	}
	return all
}

// Open gives each connection a handle, and so an error cursor, of its own.
func (e exports) Open(name string) (nbd.Export, error) {
	m, err := e.p.find(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", nbd.ErrNoExport, err)
	}
	return m.mapping.Open()
}
