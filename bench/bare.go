package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
)

// bareContestant is the file system itself.
const bareContestant = "bare file, O_DIRECT"

// bare is a file on the same file system, with nothing before it.
type bare struct {
	path string
	size int64
}

func newBareFile(h *host, size int64) (bare, error) {
	b := bare{filepath.Join(h.files, "bare"), size}
	err := fillFile(h.ctx, b.path, size)
	return b, errors.Join(err, dropFiles([]string{b.path}))
}

// contestant runs a job on the file itself. A flush of it is fdatasync.
func (b bare) contestant(r *runner, j job) contestant {
	if j.fsync > 0 {
		j.extra = append([]string{fmt.Sprintf("--fdatasync=%d", j.fsync)}, j.extra...)
		j.fsync = 0
	}
	return contestant{bareContestant, func(ctx context.Context, round int) (figures, error) {
		return fio(ctx, j, bareFile(b.path), b.size, r.o.runtime, round+1)
	}}
}
