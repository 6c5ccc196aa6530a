package main

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// fillFile writes a file in pieces of a page, so that the kernel caches it in
// single pages: where it has large folios for it, writes of 4 KiB are ten times
// slower with some kernels, and a win against that would be none. No two pages
// are equal, and none is empty.
func fillFile(ctx context.Context, path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, page)
	fillRandom(buf)
	for off := int64(0); off < size; off += page {
		binary.LittleEndian.PutUint64(buf, uint64(off)+1)
		if _, err := f.WriteAt(buf, off); err != nil {
			return err
		}
		if off%(64<<20) == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return f.Sync()
}

// fillRandom fills buf with bytes that do not compress.
func fillRandom(buf []byte) {
	random := rand.NewChaCha8([32]byte{1})
	random.Read(buf)
}

// image returns a filled file of a size in dir, to copy volumes from.
func image(ctx context.Context, dir string, size int64) (string, error) {
	path := filepath.Join(dir, "image")
	if st, err := os.Stat(path); err == nil && st.Size() == size {
		return path, nil
	}
	return path, fillFile(ctx, path, size)
}

// syncFiles makes durable what servers have written to files.
func syncFiles(paths []string) error {
	return eachFile(paths, func(f *os.File) error { return f.Sync() })
}

// dropFiles takes files out of the kernel's page cache.
func dropFiles(paths []string) error {
	return eachFile(paths, func(f *os.File) error {
		if err := f.Sync(); err != nil {
			return err
		}
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}

func eachFile(paths []string, do func(*os.File) error) error {
	var all []error
	for _, path := range paths {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err == nil {
			err = errors.Join(do(f), f.Close())
		}
		all = append(all, err)
	}
	return errors.Join(all...)
}
