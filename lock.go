package holdfast

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lockName is the file in a pool's directory that whoever uses the pool holds
// locked. It holds his process number, for messages only: the kernel gives the
// lock up when he dies, however he dies.
const lockName = "lock"

// dirLock is a held lock on a pool's directory.
type dirLock struct{ f *os.File }

// lockDir locks dir, or fails with ErrBusy and says who has it.
func lockDir(dir string) (*dirLock, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the pool: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		who := holder(f)
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w: %s has it open; stop that first", dir, ErrBusy, who)
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	l := &dirLock{f}
	if err := l.sign(strconv.Itoa(os.Getpid()) + "\n"); err != nil {
		return nil, errors.Join(fmt.Errorf("writing %s: %w", path, err), f.Close())
	}
	return l, nil
}

// holder names the process that a lock file names.
func holder(f *os.File) string {
	b, _ := io.ReadAll(io.LimitReader(f, 32))
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return "another process"
	}
	return "process " + strconv.Itoa(pid)
}

func (l *dirLock) sign(text string) error {
	if err := l.f.Truncate(0); err != nil {
		return err
	}
	_, err := l.f.WriteAt([]byte(text), 0)
	return err
}

// release gives the lock up. The file stays: to remove it would let two
// processes lock two files of one name.
func (l *dirLock) release() error { return errors.Join(l.sign(""), l.f.Close()) }
