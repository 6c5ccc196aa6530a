package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The names of the peers.
const (
	nbdkitFile   = "nbdkit file"
	nbdkitMemory = "nbdkit memory"
	nbdServer    = "nbd-server"
	qemuNBD      = "qemu-nbd"
	qemuQuorum   = "qemu-nbd quorum"
	btrfsRAID    = "nbdkit on btrfs RAID-1"
)

// peers are the servers that Holdfast is compared with, each as its own
// documentation starts it.
var peers = []kind{
	{name: nbdkitFile, needs: []string{"nbdkit"}, oneCopy: true, make: makeNbdkitFile},
	{name: nbdkitMemory, needs: []string{"nbdkit", "nbdcopy"}, oneCopy: true, volatile: true, make: makeNbdkitMemory},
	{name: nbdServer, needs: []string{"nbd-server", "unshare"}, asRoot: true, oneCopy: true, make: makeNbdServer},
	{name: qemuNBD, needs: []string{"qemu-nbd"}, oneCopy: true, make: makeQemuNBD},
	{name: qemuQuorum, needs: []string{"qemu-nbd"}, make: makeQuorum},
	{name: btrfsRAID, needs: []string{"nbdkit", "mkfs.btrfs", "losetup", "unshare", "mount"}, asRoot: true, make: makeBtrfs},
}

// oneCopies are the names of the peers without a second copy or a checksum.
func oneCopies() (names []string) {
	for _, k := range peers {
		if k.oneCopy {
			names = append(names, k.name)
		}
	}
	return names
}

// withFiles makes the named files under a server, filled.
func (s *server) withFiles(names ...string) ([]string, error) {
	var paths []string
	for _, name := range names {
		path := filepath.Join(s.h.files, name)
		if err := fillFile(s.h.ctx, path, s.size); err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	s.filled = true
	s.backing = func() []string { return paths }
	return paths, nil
}

func nbdkit(s *server, plugin ...string) []string {
	return append([]string{"nbdkit", "--foreground", "--exit-with-parent", "--unix", s.socket}, plugin...)
}

func makeNbdkitFile(s *server) error {
	paths, err := s.withFiles("volume")
	if err == nil {
		s.args = nbdkit(s, "file", paths[0])
	}
	return err
}

func makeNbdkitMemory(s *server) error {
	s.args = nbdkit(s, "memory", strconv.FormatInt(s.size, 10))
	return nil
}

// makeNbdServer has it run in a name space of processes: it puts itself into the
// background, where only the end of the name space is sure to reach it. Flushes are
// off unless they are asked for.
func makeNbdServer(s *server) error {
	paths, err := s.withFiles("volume")
	if err != nil {
		return err
	}
	s.export, s.ending = "main", syscall.SIGKILL
	conf := filepath.Join(s.h.run, "config")
	text := fmt.Sprintf("[generic]\nunixsock = %s\n[main]\nexportname = %s\nflush = true\nfua = true\n", s.socket, paths[0])
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return err
	}
	s.args = []string{"unshare", "--pid", "--fork", "--kill-child",
		"sh", "-c", `nbd-server -C "$0" && exec sleep infinity`, conf}
	return nil
}

func qemu(s *server, volume ...string) []string {
	const clients = "8"
	return append([]string{"qemu-nbd", "--persistent", "--shared=" + clients, "--cache=writeback", "--socket=" + s.socket}, volume...)
}

func makeQemuNBD(s *server) error {
	paths, err := s.withFiles("volume")
	if err == nil {
		s.args = qemu(s, "--format=raw", paths[0])
	}
	return err
}

// makeQuorum reads from one file only, which is the kinder of its ways: the other
// reads both and compares.
func makeQuorum(s *server) error {
	paths, err := s.withFiles("volume0", "volume1")
	if err != nil {
		return err
	}
	image := "driver=quorum,read-pattern=fifo,vote-threshold=1"
	for i, path := range paths {
		image += fmt.Sprintf(",children.%d.driver=raw,children.%d.file.driver=file,children.%d.file.filename=%s", i, i, i, path)
	}
	s.args = qemu(s, "--image-opts", image)
	return nil
}

// btrfsScript mounts a file system on two loop devices where only it and the
// server that it becomes can see it, so that it goes with them. A loop device that
// is detached while it is in use goes when it no longer is.
const btrfsScript = `
attach() { losetup --find --show --direct-io=on "$1" || losetup --find --show "$1"; }
a=$(attach "$0/disk0") b=$(attach "$0/disk1")
trap 'losetup --detach $a $b' EXIT
[ -e "$0/formatted" ] || mkfs.btrfs -q -f -d raid1 -m raid1 $a $b >/dev/null
: >"$0/formatted"
mount -t btrfs -o device=$a,device=$b $a "$0/mounted"
losetup --detach $a $b
trap - EXIT
[ -e "$0/mounted/volume" ] || truncate -s "$1" "$0/mounted/volume"
shift
exec "$@"
`

func makeBtrfs(s *server) error {
	if err := os.Mkdir(filepath.Join(s.h.files, "mounted"), 0o755); err != nil {
		return err
	}
	// A rewritten block goes elsewhere, so half of each disk is left free. What
	// describes the blocks gets a share of the disk, and a turn of random writes
	// takes much of that before it may be used again: on a small disk all of it,
	// and the file system ends. The files are sparse.
	const slack = 8 << 30
	disks := []string{filepath.Join(s.h.files, "disk0"), filepath.Join(s.h.files, "disk1")}
	for _, disk := range disks {
		if err := os.WriteFile(disk, nil, 0o600); err != nil {
			return err
		}
		if err := os.Truncate(disk, 2*s.size+slack); err != nil {
			return err
		}
	}
	volume := filepath.Join(s.h.files, "mounted", "volume")
	s.args = append([]string{"unshare", "--mount", "--propagation", "private", "sh", "-euc", btrfsScript,
		s.h.files, strconv.FormatInt(s.size, 10)}, nbdkit(s, "file", volume)...)
	// The server's name space is entered through /proc.
	inside := func() string { return fmt.Sprintf("/proc/%d/root%s", s.proc.cmd.Process.Pid, volume) }
	s.backing = func() []string { return []string{inside()} }
	s.fill = func() error { return fillFile(s.h.ctx, inside(), s.size) }
	s.stopped = func() error { return loopsGone(disks) }
	return nil
}

// loopsGone waits until no loop device has these files, which is a moment after
// the last who had their file system mounted, and detaches them if they stay.
func loopsGone(files []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	began := time.Now()
	for _, file := range files {
		for {
			out, err := output(ctx, "losetup", "--noheadings", "--output", "NAME", "--associated", file)
			if err != nil {
				return err
			}
			devices := strings.Fields(out)
			if len(devices) == 0 {
				break
			}
			const patience = 5 * time.Second
			if time.Since(began) > patience {
				if _, err := output(ctx, "losetup", append([]string{"--detach"}, devices...)...); err != nil {
					return errors.Join(fmt.Errorf("%s is still attached to %v", file, devices), err)
				}
			}
			time.Sleep(pollEvery)
		}
	}
	return nil
}
