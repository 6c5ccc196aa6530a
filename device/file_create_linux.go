package device

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"holdfast.dev/holdfast/internal/durable"
)

// createMode keeps a volume's bytes from other users of the machine.
const createMode = 0o600

// CreateFile makes a sparse regular file of size bytes whose name and size
// survive a crash. It fails, and leaves things as they were, if there is
// something at path already.
func CreateFile(path string, size int64) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, createMode)
	if err != nil {
		return createError(path, err)
	}
	err = errors.Join(file.Truncate(size), file.Sync(), file.Close())
	if err == nil {
		err = durable.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return createError(path, errors.Join(err, os.Remove(path)))
	}
	return nil
}

// createError names the sentinel that fits and keeps what the system said; a
// file that exists is told by fs.ErrExist.
func createError(path string, err error) error {
	sentinel := ErrIO
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		sentinel = ErrNoSpace
	}
	if e := (*os.PathError)(nil); errors.As(err, &e) {
		err = e.Err // the path is named once, below
	}
	return &OpError{Op: "create", Name: path, Err: fmt.Errorf("%w: %w", sentinel, err)}
}
