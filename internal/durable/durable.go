// Package durable changes names and small files in ways that a crash does not
// undo.
//
// A file system may forget a name that was made or changed, though the file itself
// was synced, until the directory is: fsync(2).
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Replace makes the file at path have these bytes and this mode. Whatever stops
// it, a crash too, the file has these or those it had before; after an error it
// may be either. There is one call for a path at a time: beside it, under its name
// with .tmp added, the new file is written.
func Replace(path string, b []byte, mode fs.FileMode) error {
	next := path + ".tmp"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()) // whatever the umask says
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next))
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
