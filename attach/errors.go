package attach

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"holdfast.dev/holdfast/cache"
	"holdfast.dev/holdfast/device"
)

// The errors of this package, on both sides of the socket.
var (
	// ErrServerClosed is what Serve returns after Shutdown.
	ErrServerClosed = errors.New("attach: server closed")
	// ErrDenied says that the server does not serve this user.
	ErrDenied = errors.New("access denied")
	// ErrNoVolume says that there is no volume of that name.
	ErrNoVolume = errors.New("no such volume")
	// ErrInvalid says that a request makes no sense, or is beyond a limit.
	ErrInvalid = errors.New("invalid request")
	// ErrFailed says that the server tried and could not; its log says more.
	ErrFailed = errors.New("the server failed")
	// ErrGone says that the server ended, or let this client go. What was stored
	// and synced before is safe.
	ErrGone = errors.New("the server is gone")
	// ErrRefused says that an access was refused: the volume's owner did not
	// agree to a store, or the page cannot be read.
	ErrRefused = errors.New("access refused")
	// ErrReadOnly is ErrRefused for a mapping for reading only, where it is most
	// likely a store that failed.
	ErrReadOnly = fmt.Errorf("%w: the mapping is for reading only, or the page cannot be read", ErrRefused)
	// ErrNotAsync says that the asynchronous mode was asked for and cannot be had.
	ErrNotAsync = errors.New("the asynchronous mode is not possible")
	// ErrClosed says that the client, the mapping or the volume was closed.
	ErrClosed = os.ErrClosed
)

// errProtocol marks what only a broken or hostile client does.
var errProtocol = errors.New("protocol violated")

// Status of a reply.
const (
	statusOK      = 0
	statusDenied  = 1
	statusVolume  = 2
	statusInvalid = 3
	statusFailed  = 4
	statusClosed  = 5
	statusNoSpace = 6
	statusRefused = 7
	statusAsync   = 8
)

var statusErrors = map[uint32]error{
	statusDenied:  ErrDenied,
	statusVolume:  ErrNoVolume,
	statusInvalid: ErrInvalid,
	statusFailed:  ErrFailed,
	statusClosed:  ErrClosed,
	statusNoSpace: unix.ENOSPC,
	statusRefused: ErrRefused,
	statusAsync:   ErrNotAsync,
}

// statusOf is what a client is told of an error.
func statusOf(err error) uint32 {
	switch {
	case err == nil:
		return statusOK
	case errors.Is(err, ErrDenied):
		return statusDenied
	case errors.Is(err, ErrNoVolume):
		return statusVolume
	case errors.Is(err, ErrNotAsync):
		return statusAsync
	case errors.Is(err, ErrInvalid), errors.Is(err, device.ErrOutOfRange):
		return statusInvalid
	case errors.Is(err, ErrClosed), errors.Is(err, cache.ErrClosed):
		return statusClosed
	case errors.Is(err, ErrRefused), errors.Is(err, cache.ErrRefused), errors.Is(err, cache.ErrHeld), errors.Is(err, cache.ErrTooManyPins):
		return statusRefused
	case errors.Is(err, unix.ENOSPC):
		return statusNoSpace
	}
	return statusFailed
}

// replyError is the error that a reply tells of.
func replyError(m *message) error {
	if m.status == statusOK {
		return nil
	}
	sentinel := statusErrors[m.status]
	if sentinel == nil {
		sentinel = fmt.Errorf("%w: status %d", ErrFailed, m.status)
	}
	if m.text == "" {
		return sentinel
	}
	return fmt.Errorf("%w: %s", sentinel, m.text)
}
